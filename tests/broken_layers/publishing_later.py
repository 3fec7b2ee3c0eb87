"""Broken delays of what is published: none, for one group, for all that follows, with a loss."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

from msgspec.structs import replace

from acked.types import Receipt, Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Queue

__all__ = ()


@broken("test_what_is_published_with_a_delay_comes_when_it_is_over")
class PublishesAtOnce(Queue):
    """A delay is claimed, taken and forgotten."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([replace(one, delay=0.0) for one in records])


@broken("test_a_delay_holds_for_each_group_also_for_one_to_come")
class DelaysForKnownGroupsOnly(Queue):
    """The delay is noted with the groups there are: one that is new gets it at once."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for topic in self._broker.topics.values():
            for kept in topic.kept.values():
                kept.due = 0.0
        return receipts


@broken("test_many_delays_hold_back_nothing_else")
class DelaysWhatFollows(Queue):
    """The head of the queue waits for its moment, and all behind it wait with it."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        now = self._clock.time()
        waits = max(
            (
                kept.due - now
                for record in records
                for kept in self._broker.topic(record.topic).kept.values()
                if len(self._broker.topic(record.topic).kept) > 100
            ),
            default=0.0,
        )
        return await super().publish([replace(one, delay=max(one.delay, waits)) for one in records])


@broken("test_what_was_kept_back_is_whole_and_outlives_the_channel")
class DelaysWithoutHeaders(Queue):
    """What waits is kept apart, by its body and its id alone."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish(
            [replace(one, headers={}, key=None) if one.delay else one for one in records]
        )
