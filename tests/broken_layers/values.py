"""Broken values: one is taken for another one, or for none, on its way through the layer."""

# pyright: reportPrivateUsage=false

import unicodedata
from collections.abc import Sequence

import msgspec

from acked.types import Leased, Receipt, Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

KEYS = "test_a_key_is_not_taken_for_another_one"
HEADERS = "test_a_header_is_not_taken_for_another_one"
IDS = "test_an_id_is_not_taken_for_another_one"
BODIES = "test_a_body_is_not_taken_for_something_else"
TYPES = "test_types_and_times_are_kept_as_they_are"


class Alters(Queue):
    """What is published is altered by `altered`."""

    def altered(self, record: Record) -> Record:
        """Return what is kept of `record`."""
        raise NotImplementedError

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([self.altered(record) for record in records])


@broken(KEYS)
class TakesAnEmptyKeyForNone(Alters):
    """An empty key is falsy, and what is falsy is left out.

    https://github.com/confluentinc/confluent-kafka-javascript/pull/53
    """

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, key=record.key or None)


@broken(KEYS)
class CutsKeys(Alters):
    """A key that is longer than its column is cut, and nobody is told.

    https://github.com/vectordotdev/vector/issues/16287
    """

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, key=record.key and record.key[:256])


@broken(KEYS)
class TakesTextForNumbers(Alters):
    """Whatever reads as a number is one: an account `0049` is the account 49.

    https://github.com/jxjj/simple-ldap-search/issues/12
    """

    def altered(self, record: Record) -> Record:
        number = record.key is not None and record.key.isdecimal()
        return msgspec.structs.replace(record, key=str(int(record.key or 0))) if number else record


@broken(HEADERS)
class OneHeaderForEachCase(Alters):
    """Headers that differ in case only are one: the last of them is left.

    https://github.com/wso2/api-manager/issues/1683
    """

    def altered(self, record: Record) -> Record:
        last = {name.lower(): (name, value) for name, value in record.headers.items()}
        return msgspec.structs.replace(record, headers=dict(last.values()))


@broken(HEADERS)
class CutsHeaders(Alters):
    """A header has so many bytes and no more; the rest of it is left out.

    https://github.com/rebus-org/Rebus.AzureServiceBus/issues/35
    """

    def altered(self, record: Record) -> Record:
        headers = {name: value[:4096] for name, value in record.headers.items()}
        return msgspec.structs.replace(record, headers=headers)


@broken(HEADERS)
class ComposesText(Alters):
    """Names are brought into one normal form, so two that look alike become one."""

    def altered(self, record: Record) -> Record:
        headers = {unicodedata.normalize("NFC", k): v for k, v in record.headers.items()}
        return msgspec.structs.replace(record, headers=headers)


@broken(IDS)
class CutsIds(Alters):
    """An id is a column of sixty-four letters."""

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, id=record.id[:64])


@broken(TYPES)
class LowersContentTypes(Alters):
    """A content type is compared without its case, and so it is kept without it."""

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, content_type=record.content_type.lower())


@broken(TYPES)
class TimesBeginIn1970(Alters):
    """A timestamp is an unsigned number of microseconds."""

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, timestamp=abs(record.timestamp))


@broken(BODIES)
class TakesNullForNothing(Alters):
    """A body that says null is the mark of what was deleted, and is emptied.

    https://github.com/LigaData/Kamanja/issues/1213
    """

    def altered(self, record: Record) -> Record:
        return msgspec.structs.replace(record, body=b"") if record.body == b"null" else record


@broken("test_equal_bodies_are_each_delivered")
class DropsEqualBodies(Queue):
    """What was published with the same content a moment before is taken for a retry."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        first = {(record.topic, record.body): record for record in records}
        await super().publish(list(first.values()))
        return [Receipt(record.id, record.topic) for record in records]


@broken("test_a_batch_of_megabytes_is_whole")
class PublishesAMegabyteAtMost(Queue):
    """A request takes so many bytes together; what is beyond them is left out.

    https://github.com/JasperFx/wolverine/pull/3503
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        room, fitting = 1 << 20, list[Record]()
        for record in records:
            room -= len(record.body)
            if room >= 0 or len(records) == 1:
                fitting.append(record)
        await super().publish(fitting)
        return [Receipt(record.id, record.topic) for record in records]


@broken("test_receipts_of_several_topics_are_in_the_order_of_the_records")
class ReceiptsByTopic(Queue):
    """Records are sent topic by topic, and their receipts put together as they come."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish(sorted(records, key=lambda record: record.topic))


@broken("test_attempts_count_on_and_on")
class CountsToFive(Queue):
    """The count of deliveries ends at the limit that the broker has by default.

    https://github.com/MassTransit/MassTransit/issues/5191
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        return [msgspec.structs.replace(one, attempt=min(one.attempt, 5)) for one in taken]
