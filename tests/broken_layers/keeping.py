"""Broken keeping: what is published is changed or not kept, what is done with is kept for ever."""

# pyright: reportPrivateUsage=false

import base64
import binascii
import contextlib
from collections.abc import Sequence
from typing import Final

import msgspec

from acked.abc import Clock
from acked.errors import PublishFailed
from acked.layers.memory_queue._group import RecordLease
from acked.types import Outcome, Receipt, Record, Settlement, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, changed

__all__ = ()

ENOUGH: Final = 1000
"""How many a stream keeps that is trimmed."""


@broken("test_the_broker_keeps_no_lease_of_who_has_left")
class LeaksConsumers(Queue):
    """A consumer is registered when it starts, and nobody removes it when it leaves.

    https://github.com/juspay/hyperswitch/issues/13811
    """

    def leave(self, feed: Feed) -> None:
        super().leave(feed)
        feed._topics.consumers += 1


class KeepsSome(Queue):
    """What was settled by `verb` is kept."""

    verb: Verb

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = super().settle_one(feed, lease, settlement, now)
        if settlement.verb is self.verb and outcome is Outcome.CONFIRMED:
            lease.queue._topic.kept[lease.kept.number] = lease.kept
        return outcome


@broken("test_the_broker_keeps_nothing_of_what_is_settled")
class KeepsWhatIsDone(KeepsSome):
    """What was acked is marked as done, and stays.

    https://github.com/redis/redis/issues/5718
    """

    verb = Verb.ACK


@broken("test_the_broker_keeps_nothing_of_what_is_settled")
class KeepsWhatFailed(KeepsSome):
    """What was rejected is in the dead letters, and in its place as before.

    https://github.com/taskforcesh/bullmq/issues/1662
    """

    verb = Verb.REJECT


@broken("test_the_broker_keeps_nothing_for_a_group_that_was_removed")
class RemovedGroupsLeaveTheirDebts(Queue):
    """A group is deleted, and what it had not settled is kept for it.

    https://github.com/weyoss/redis-smq/issues/133
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        found = [self._broker.topics[name] for name in topics if name in self._broker.topics]
        kept = [(topic, dict(topic.kept)) for topic in found]
        await super().remove_group(topics, group)
        for topic, before in kept:
            topic.kept = before | topic.kept


@broken("test_what_is_published_again_under_its_id_is_a_message")
class DropsWhatHasAnOldId(Queue):
    """An id that was seen is a repetition: accepted, and not kept.

    https://github.com/alexfrmn/murmur/issues/141
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._seen: set[tuple[str, str]] = set()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        new = [one for one in records if (one.topic, one.id) not in self._seen]
        receipts = {one.id: one for one in await super().publish(new)}
        self._seen |= {(one.topic, one.id) for one in new}
        return [receipts.get(one.id, Receipt(one.id, one.topic)) for one in records]


@broken("test_what_was_refused_can_be_published")
class WhatWasRefusedCountsAsSeen(Queue):
    """What was refused is remembered by the deduplication, which swallows the next try.

    https://github.com/apache/pulsar/issues/5218
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._refused: set[str] = set()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        new = [one for one in records if one.id not in self._refused]
        try:
            receipts = {one.id: one for one in await super().publish(new)}
        except PublishFailed as error:
            self._refused |= {new[index].id for index in error.failures}
            raise
        return [receipts.get(one.id, Receipt(one.id, one.topic)) for one in records]


@broken("test_what_the_broker_refuses_is_not_said_to_be_accepted")
class OneRefusedFailsAll(Queue):
    """One of a batch was refused, and all of it is said to be.

    https://github.com/ArieGato/serilog-sinks-rabbitmq/issues/311
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        try:
            return await super().publish(records)
        except PublishFailed as error:
            why = next(iter(error.failures.values()))
            failures = dict.fromkeys(range(len(records)), why)
            raise PublishFailed(str(error), failures, indeterminate=False) from error


@broken("test_eleven_hundred_acks_at_once_are_each_answered")
class KeepsTheLastThousand(Queue):
    """A stream is trimmed to a length, whoever has read what is cut.

    https://github.com/celery/kombu/issues/593
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for name in {one.topic for one in records}:
            for queue in self._broker.topic(name).groups.values():
                while len(queue._fresh) > ENOUGH:
                    queue._owe_no_more(queue._fresh.popleft())
        return receipts


@broken("test_what_was_taken_for_publishing_arrives_equal")
class DecodesWhatLooksEncoded(Queue):
    """A body that reads as base64 is taken for what it would have been.

    https://github.com/celery/kombu/issues/1092
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([self._decoded(one) for one in records])

    def _decoded(self, record: Record) -> Record:
        with contextlib.suppress(binascii.Error):
            return changed([record], body=base64.b64decode(record.body, validate=True))[0]
        return record


@broken("test_a_header_is_not_taken_for_another_one")
class DecodesHeadersThatLookLikeJson(Queue):
    """A header that reads as JSON is decoded, and encoded again.

    https://github.com/brefphp/symfony-messenger/pull/28
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        decoded = [
            changed([one], headers={k: _again(v) for k, v in one.headers.items()})[0]
            for one in records
        ]
        return await super().publish(decoded)


def _again(value: str) -> str:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.encode(msgspec.json.decode(value)).decode()
    return value
