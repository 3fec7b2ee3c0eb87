"""Broken copies: what comes again, or is in the dead letters, is not what went."""

# pyright: reportPrivateUsage=false

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Receipt, Record, Settlement
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, changed

__all__ = ()


class ChangesWhatComesAgain(Queue):
    """From the second delivery on a record has other fields, as `again` says."""

    def again(self, record: Record) -> dict[str, Any]:
        """Return the fields that are changed."""
        raise NotImplementedError

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            one
            if one.attempt == 1
            else msgspec.structs.replace(
                one, record=changed([one.record], **self.again(one.record))[0]
            )
            for one in super().take(feed, limit)
        ]


class ChangesDeadLetters(Queue):
    """A dead letter has other fields, as `buried` says."""

    def buried(self, record: Record) -> dict[str, Any]:
        """Return the fields that are changed."""
        raise NotImplementedError

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is not None:
            other = changed([letter], **self.buried(letter))[0]
            settlement = msgspec.structs.replace(settlement, dead_letter=other)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_comes_again_equals_what_went")
class LosesHeadersOnRedelivery(ChangesWhatComesAgain):
    """What is delivered again is sent anew, with some of its headers.

    https://github.com/MassTransit/MassTransit/issues/5255
    """

    def again(self, record: Record) -> dict[str, Any]:
        return {"headers": dict(list(record.headers.items())[:3])}


@broken("test_what_comes_again_equals_what_went")
class KeepsTheHeadersOfTheAttempt(ChangesWhatComesAgain):
    """What one attempt noted in the headers is there at the next one.

    https://github.com/Particular/NServiceBus.AmazonSQS/issues/248
    """

    def again(self, record: Record) -> dict[str, Any]:
        return {"headers": {**record.headers, "retries": "1"}}


@broken("test_what_comes_again_equals_what_went")
class ForgetsTheEnvelopeOnRedelivery(ChangesWhatComesAgain):
    """A retry is published with the body alone: what was beside it is as by default.

    https://github.com/mateodelnorte/servicebus/issues/31
    """

    def again(self, record: Record) -> dict[str, Any]:
        return {"content_type": "application/octet-stream", "key": None}


@broken("test_what_comes_again_after_its_lease_equals_what_went")
class StampsWhatComesAgain(ChangesWhatComesAgain):
    """What was recovered is a new message, published now.

    https://github.com/Particular/NServiceBus.AmazonSQS/issues/249
    """

    def again(self, record: Record) -> dict[str, Any]:
        return {"timestamp": time.time()}


@broken("test_what_comes_again_after_its_lease_equals_what_went")
class RecoversWithoutABody(ChangesWhatComesAgain):
    """What was claimed from a dead consumer has no fields: its entry is a nil.

    https://github.com/redis/redis/issues/10198
    """

    def again(self, record: Record) -> dict[str, Any]:
        return {"body": b"", "headers": {}}


@broken("test_what_comes_again_equals_what_went")
class TakesHeadersForItsOwn(Queue):
    """Fields and headers are in one table, so a header called `key` is the key.

    https://github.com/JasperFx/wolverine/issues/3408
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        mixed = [changed([one], key=one.headers.get("key", one.key))[0] for one in records]
        return await super().publish(mixed)


@broken("test_a_dead_letter_arrives_as_it_was_written")
class BuriesUnderANewId(ChangesDeadLetters):
    """A dead letter is a message of its own, and which one it was nobody knows.

    https://github.com/apache/pulsar/pull/9655
    """

    def buried(self, record: Record) -> dict[str, Any]:
        return {"id": f"dead-{record.id}"}


@broken("test_a_dead_letter_arrives_as_it_was_written")
class BuriesWithoutItsOwnHeaders(ChangesDeadLetters):
    """The headers that the dead-letter queue writes take the place of the message's own.

    https://github.com/quarkusio/quarkus/issues/20537
    """

    def buried(self, record: Record) -> dict[str, Any]:
        return {"headers": {k: v for k, v in record.headers.items() if k.startswith("acked-")}}


@broken("test_a_dead_letter_arrives_as_it_was_written")
class BuriesWithTheOthersKey(ChangesDeadLetters):
    """A dead letter has the routing key of the dead-letter queue.

    https://github.com/rabbitmq/rabbitmq-server/issues/15385
    """

    def buried(self, record: Record) -> dict[str, Any]:
        return {"key": record.topic}
