"""Broken delays: of another length, of another message, or lost on the way."""

# pyright: reportPrivateUsage=false

import heapq
from typing import Self

import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._charge import NOTHING
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Settlement, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


@broken("test_a_longer_delay_holds_back_no_shorter_one")
class DelaysAreALine(Queue):
    """Only the head of what is delayed is looked at, so a long delay holds back a short one.

    https://github.com/shinyscorpion/task_bunny/issues/69
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.delay:
            last = max((item[0] for item in lease.queue._delayed), default=now)
            longer = max(settlement.delay, last - now)
            settlement = msgspec.structs.replace(settlement, delay=longer)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_longer_delay_holds_back_no_shorter_one")
class DelaysInSlots(Queue):
    """Delays are rounded up to the next of a few queues that each have one.

    https://github.com/odolbeau/rabbit-mq-admin-toolkit/issues/29
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        slots = (0.0, 30.0, 100.0, 1e9)
        delay = next(slot for slot in slots if slot >= settlement.delay)
        if settlement.delay < 3 * feed._lease:
            settlement = msgspec.structs.replace(settlement, delay=delay)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_delay_is_counted_from_the_nack")
class DelaysFromTheDelivery(Queue):
    """The time at which it was delivered is what a delay is added to.

    https://github.com/igalarzab/sqjobs/pull/31
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._leased_at: dict[Token, float] = {}

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.delay:
            left = max(0.001, settlement.delay - (now - self._leased_at[lease.token]))
            settlement = msgspec.structs.replace(settlement, delay=left)
        return super().settle_one(feed, lease, settlement, now)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        self._leased_at |= {one.token: self._clock.time() for one in taken}
        return taken


@broken("test_a_delay_outlives_the_channel")
class DelaysEndWithTheChannel(Queue):
    """Whoever opens it moves everything that was delayed back, due or not."""

    async def __aenter__(self) -> Self:
        for topic in self._broker.topics.values():
            for queue in topic.groups.values():
                for _, number, charged, kept in queue._delayed:
                    heapq.heappush(queue._returned, (number, charged, kept))
                queue._delayed.clear()
        return await super().__aenter__()


@broken("test_a_delay_of_one_group_delays_no_other")
class DelaysForAllGroups(Queue):
    """The time from which it is due is kept with the message, for every group of its topic."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        kept, until = lease.kept, now + settlement.delay
        for queue in lease.queue._topic.groups.values() if settlement.delay else ():
            if queue is not lease.queue and kept in queue._fresh:
                queue._fresh.remove(kept)
                heapq.heappush(queue._delayed, (until, kept.number, NOTHING, kept))
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_was_delayed_comes_once_and_as_it_was")
class RetriesWithoutHeaders(Queue):
    """What goes through the queue of delays is published anew, without all of its headers.

    https://github.com/renderedtext/tackle/issues/9
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.delay:
            lease.kept.record = msgspec.structs.replace(lease.kept.record, headers={})
        return super().settle_one(feed, lease, settlement, now)
