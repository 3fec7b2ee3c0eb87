"""Broken priorities: none, in a page, for the groups that were there, until the first return."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

from msgspec.structs import replace

from acked.types import Leased, Receipt, Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


@broken("test_of_what_is_free_the_highest_priority_comes_first")
class ForgetsThePriority(Queue):
    """A priority is claimed, taken and forgotten."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([replace(one, priority=0) for one in records])


@broken("test_a_priority_holds_for_each_group_also_for_one_to_come")
class HasPrioritiesInKnownGroupsOnly(Queue):
    """What a group that is new is owed is read in the order of publishing."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for topic in self._broker.topics.values():
            for kept in topic.kept.values():
                kept.ahead = 0
        return receipts


@broken("test_what_comes_back_keeps_its_priority")
class LosesThePriorityAtAReturn(Queue):
    """What was given out once goes back among the others."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        leased = super().take(feed, limit)
        for lease in feed.held.values():
            lease.kept.ahead = 0
        return leased


@broken("test_what_was_delayed_has_its_priority_when_it_is_due")
class LosesThePriorityInADelay(Queue):
    """What waits for its moment is kept apart, by that moment alone."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish(
            [replace(one, priority=0) if one.delay else one for one in records]
        )


@broken("test_the_highest_comes_before_a_thousand_that_wait")
class SortsAPage(Queue):
    """Priorities are sorted out among the first hundred."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        waiting = max(map(len, (one.kept for one in self._broker.topics.values())), default=0)
        kept = [replace(one, priority=0) for one in records] if waiting > 100 else records
        return await super().publish(kept)
