"""Broken ends of what is published: none, for one group, for the first try, beyond the lease."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

from msgspec.structs import replace

from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Receipt, Record, Settlement
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


@broken("test_what_has_expired_is_handed_to_nobody_and_counted")
class ForgetsTheEnd(Queue):
    """An end is claimed, taken and forgotten."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return await super().publish([replace(one, expires=0.0) for one in records])


@broken("test_it_expires_in_each_group_also_in_one_to_come")
class ExpiresInTheFirstGroupOnly(Queue):
    """The end is noted with the queue of one group; the others have copies without it."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        queue = feed._queues[0]
        topics = self._broker.topics.values()
        is_first = any(next(iter(topic.groups.values()), None) is queue for topic in topics)
        leased = super().take(feed, limit)
        return leased if is_first else [replace(one, is_expired=False) for one in leased]


@broken("test_what_comes_again_after_its_time_is_handed_to_nobody")
class ExpiresOnlyWhatNobodyHad(Queue):
    """A message of which a delivery was tried is retried to its end.

    As where the time is that of waiting in the queue, and each return begins it anew.
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        leased = super().take(feed, limit)
        return [replace(one, is_expired=one.is_expired and one.attempt == 1) for one in leased]


@broken("test_what_was_handed_out_in_time_can_be_settled_after_it")
class EndsTheLeaseWithTheMessage(Queue):
    """What has expired is swept away, also from under the one who has it in hand."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if 0 < lease.kept.expires <= now:
            return Outcome.LOST
        return super().settle_one(feed, lease, settlement, now)


@broken("test_with_dead_letters_what_has_expired_goes_there")
class LettersKeepTheEnd(Queue):
    """The dead letter has whatever the original had, its end too: so nobody ever sees it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is not None and lease.kept.expires:
            settlement = replace(settlement, dead_letter=replace(letter, expires=0.001))
        return super().settle_one(feed, lease, settlement, now)
