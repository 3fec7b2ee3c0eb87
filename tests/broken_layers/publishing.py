"""Broken publishing: what was accepted is not what arrives."""

# pyright: reportPrivateUsage=false

from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from acked.abc import Clock
from acked.errors import PublishFailed
from acked.types import Leased, Receipt, Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, changed

__all__ = ()

LARGEST: Final = 65_536


class Mangles(Queue):
    """What is changed on the way is said by `mangled`."""

    def mangled(self, record: Record) -> Record:
        """Return what arrives."""
        raise NotImplementedError

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([self.mangled(record) for record in records])


@broken("test_bodies_arrive_byte_for_byte")
class CutsBodiesAtANul(Mangles):
    """A body is a C string on its way."""

    def mangled(self, record: Record) -> Record:
        return msgspec.structs.replace(record, body=record.body.split(b"\0")[0])


@broken("test_bodies_arrive_byte_for_byte")
class CarriesTextOnly(Mangles):
    """Bodies travel as text: what is not UTF-8 is replaced."""

    def mangled(self, record: Record) -> Record:
        return msgspec.structs.replace(record, body=record.body.decode(errors="replace").encode())


@broken("test_bodies_arrive_byte_for_byte")
class ReadsIntoOneBuffer(Queue):
    """All bodies of a fetch are views of one buffer, which the next message overwrites."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        if not taken:
            return taken
        last = taken[-1].record.body
        return [
            msgspec.structs.replace(one, record=changed([one.record], body=last)[0])
            for one in taken
        ]


@broken("test_a_body_of_the_largest_size_arrives")
class CutsTheLargestBody(Queue):
    """The buffer for bodies is one byte too small for the largest that is claimed."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        claimed = msgspec.structs.replace(self.capabilities, max_payload=LARGEST)
        vars(self)["capabilities"] = claimed

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        cut = [changed([record], body=record.body[: LARGEST - 1])[0] for record in records]
        return await super().publish(cut)


@broken("test_headers_arrive_as_they_were")
class LowersTheNamesOfHeaders(Mangles):
    """Headers are carried as HTTP does, their names in lower case."""

    def mangled(self, record: Record) -> Record:
        headers: Mapping[str, str] = {name.lower(): text for name, text in record.headers.items()}
        return msgspec.structs.replace(record, headers=headers)


@broken("test_headers_arrive_as_they_were")
class DropsEmptyHeaders(Mangles):
    """A header with an empty value is taken for none."""

    def mangled(self, record: Record) -> Record:
        headers = {name: text for name, text in record.headers.items() if text}
        return msgspec.structs.replace(record, headers=headers)


@broken("test_what_travels_beside_a_body_arrives_as_it_was")
class LosesTheKey(Mangles):
    """A key chooses the partition, and is not kept with the message."""

    def mangled(self, record: Record) -> Record:
        return msgspec.structs.replace(record, key=None)


@broken("test_what_travels_beside_a_body_arrives_as_it_was")
class RoundsTheTimestamp(Mangles):
    """Timestamps are kept in whole seconds."""

    def mangled(self, record: Record) -> Record:
        return msgspec.structs.replace(record, timestamp=float(int(record.timestamp)))


@broken("test_a_batch_has_a_receipt_for_each_member_in_order")
class ReceiptsInAnotherOrder(Queue):
    """Receipts come as the broker's answers do, and not as the records went out."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return [*reversed(await super().publish(records))]


@broken("test_each_member_of_a_batch_keeps_what_is_its_own")
class OneKeyForABatch(Queue):
    """A batch goes out as one request, which has one key: that of its first member."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        key = next((record.key for record in records), None)
        return await super().publish([msgspec.structs.replace(one, key=key) for one in records])


@broken("test_what_the_broker_refuses_is_not_said_to_be_accepted")
class SaysThatAllWereAccepted(Queue):
    """The answers for the members of a batch are not looked at: a refused one is a success."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        try:
            return await super().publish(records)
        except PublishFailed:
            return [Receipt(record.id, record.topic) for record in records]


@broken("test_concurrent_publishers_lose_nothing")
class PublishersOverwriteOneAnother(Queue):
    """The number of the next message is read, and used after waiting: two have the same one."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._published = 0

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        number = self._published
        await checkpoint()
        if number != self._published:
            return [Receipt(record.id, record.topic) for record in records]  # overwritten
        self._published += 1
        return await super().publish(records)


@broken("test_a_cancelled_publish_is_whole_or_absent")
class PublishesAgainWhenCancelled(Queue):
    """A publish that was cancelled before its answer is repeated in the background."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        try:
            await checkpoint()
            await checkpoint()
        except BaseException:
            for record in records:
                self._broker.publish(record, self._clock.time())
            raise
        return receipts


@broken("test_a_cancelled_publish_is_whole_or_absent")
class WritesABodyInTwoSteps(Queue):
    """A record is kept when half of its body has arrived; cancelled then, half is what it has."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        half = [changed([one], body=one.body[: len(one.body) // 2])[0] for one in records]
        try:
            await checkpoint()
            await checkpoint()
        except BaseException:
            for record in half:
                self._broker.publish(record, self._clock.time())
            raise
        return await super().publish(records)


@broken("test_a_cancelled_publish_is_whole_or_absent")
class StaysLockedWhenCancelled(Queue):
    """A publish that is cancelled does not give back the connection's lock."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._lock = anyio.Semaphore(1)

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        await self._lock.acquire()
        await checkpoint()
        receipts = await super().publish(records)
        self._lock.release()
        return receipts
