"""Broken waits: who waits is woken by the wrong thing, or for it; and places that are changed."""

# pyright: reportPrivateUsage=false

import heapq
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio

from acked.abc import Clock
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._topic_set import NEVER
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Start, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, OtherMoments, Queue, RightFeed

__all__ = ()

BLOCK: Final = 5.0
"""Seconds that one read waits."""


@broken("test_a_wait_ends_with_a_delay_that_is_set_meanwhile")
class TheFirstTimerWins(Queue):
    """A read waits for the earliest delay there was, and what is due earlier does not end it.

    https://github.com/taskforcesh/bullmq/pull/2242
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        def wake() -> None:
            if any(queue.ready or queue.has_overdue for queue in feed._queues):
                RightFeed.wake(feed)

        cast("Any", feed).wake = wake
        return await super().receive(feed, limit)


@broken("test_a_handler_that_fails_is_called_again_by_the_schedule")
class WhatIsDueWakesNobody(OtherMoments):
    """What was delayed is seen when something else is published.

    https://github.com/taskforcesh/bullmq/issues/2534
    """

    def next_moment(self, queue: GroupQueue) -> float:
        return min((end[0] for end in queue._ends if end[1] in end[2].holder), default=NEVER)


@broken("test_a_longer_delay_holds_back_no_shorter_one")
class DelaysHoldForWhoAskedForThem(Queue):
    """A delay is a timer of the consumer that set it, and another one does not know of it.

    https://github.com/OptimalBits/bull/issues/762
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._asked: dict[int, Feed] = {}

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        self._asked[id(lease.kept)] = feed
        return super().settle_one(feed, lease, settlement, now)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            for item in [*queue._delayed]:
                if self._asked[id(item[3])] is not feed:
                    queue._delayed.remove(item)
                    heapq.heappush(queue._returned, item[1:])
            heapq.heapify(queue._delayed)
        return super().take(feed, limit)


class OneConnection(Queue):
    """A read that waits keeps its connection busy; who wants it too waits for the read."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.reading: list[Feed] = []

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        self.reading.append(feed)
        try:
            return await super().receive(feed, limit)
        finally:
            self.reading.remove(feed)

    async def free(self, *feeds: Feed) -> None:
        """Return when none of `feeds` reads, or the read would have ended by itself."""
        with anyio.move_on_after(BLOCK):
            while any(feed in self.reading for feed in feeds):
                await anyio.sleep(0.01)


@broken("test_the_counters_reconcile_at_rest")
class SettlesWaitForTheRead(OneConnection):
    """Acks go over the connection of the reads.

    https://github.com/gamaops/hfx-bus/issues/21
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        await self.free(feed)
        return await super().settle(feed, batch)


@broken("test_what_the_engine_buried_was_not_delivered")
class PublishesWaitForTheRead(OneConnection):
    """What is published goes over the connection of the reads.

    https://github.com/redis/ioredis/issues/984
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        await self.free(*self.feeds)
        return await super().publish(records)


@broken("test_what_is_handed_out_has_a_lease_that_holds")
class ExtendsAfterTheRead(OneConnection):
    """Leases are extended over the connection of the reads.

    https://github.com/redis/node-redis/issues/2021
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await self.free(feed)
        return await super().extend(feed, tokens, seconds)


@broken("test_what_comes_before_the_first_read_is_not_missed")
class DropsWhatComesBeforeTheFirstRead(Queue):
    """What comes between joining and the first read finds no handler, and is acknowledged.

    https://github.com/mqttjs/MQTT.js/issues/1124
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            feed.notes += [(queue, set(queue._topic.kept)) for queue in feed._queues]
            yield feed

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue, known in feed.notes:
            for kept in [one for one in queue._fresh if one.number not in known]:
                queue._fresh.remove(kept)
                queue._owe_no_more(kept)
        feed.notes.clear()
        return super().take(feed, limit)


class SomeComeLast(Queue):
    """What is among `last` comes behind everything else that is ready."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.last: set[int] = set()
        """Ids of what is kept."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        hidden: list[tuple[GroupQueue, Any]] = []
        for queue in feed._queues:
            queue.tick(self._clock.time(), feed._held)
            late = [item for item in queue._returned if id(item[2]) in self.last]
            if len(late) < queue.ready:
                queue._returned[:] = sorted(set(queue._returned) - set(late))
                hidden += [(queue, item) for item in late]
        taken = super().take(feed, limit)
        self.last -= {id(feed._held[one.token].kept) for one in taken}
        for queue, item in hidden:
            heapq.heappush(queue._returned, item)
        return taken


@broken("test_the_counters_reconcile_at_rest")
class WhatIsReleasedComesLast(SomeComeLast):
    """What is given back is pushed to the back of the queue.

    https://github.com/celery/kombu/pull/254
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        self.last |= {id(feed._held[one].kept) for one in tokens if one in feed._held}
        await super().release(feed, tokens)


@broken("test_the_counters_reconcile_at_rest")
class WhatIsDueComesLast(SomeComeLast):
    """What was delayed is published to the end of the queue when it is due.

    https://github.com/amqp-node/amqplib/issues/544
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.delay:
            self.last.add(id(lease.kept))
        return super().settle_one(feed, lease, settlement, now)


@broken("test_the_counters_reconcile_at_rest")
class TheFirstOfTheEndedComesLast(SomeComeLast):
    """Of those whose leases have ended together the first one comes behind the others.

    https://github.com/nats-io/nats-server/issues/6114
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            now = self._clock.time()
            ended = [one[2] for one in sorted(queue._ends, key=lambda end: end[:2])]
            ended = [one for one in ended if one.until <= now and one.token in one.holder]
            if ended and ended[0].holder is not feed._held:
                self.last.add(id(min(ended, key=lambda one: one.kept.number).kept))
        return super().take(feed, limit)
