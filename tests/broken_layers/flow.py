"""Broken flow: who gets what, how much of it at once, and in which order."""

# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Start, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

RING: Final = 10
"""How far one group may be ahead of another one."""


@broken("test_a_consumer_gets_its_topics_and_nothing_else")
class MatchesTopicsByPrefix(Queue):
    """A topic's name is looked up by prefix: `orders` gets what was published to `orders-old`."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for record in records:
            for name, topic in self._broker.topics.items():
                if name != record.topic and record.topic.startswith(name):
                    topic.add(record, self._clock.time())
                    topic.nudge()
        return receipts


@broken("test_a_group_is_owed_what_is_published_while_nobody_consumes")
class OwesOnlyToThoseWhoConsume(Queue):
    """What is published while a group has no consumer is not kept for it."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = await super().publish(records)
        for record in records:
            for queue in self._broker.topic(record.topic).groups.values():
                if not queue.consumers and queue._fresh:
                    queue._owe_no_more(queue._fresh.pop())
        return receipts


@broken("test_a_new_group_starts_where_it_was_told")
class StartsInThePast(Queue):
    """`Start.LATEST` is ignored: a new group begins with everything that is kept."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        start = Start.EARLIEST if start is Start.LATEST else start
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


@broken("test_a_stuck_consumer_blocks_nobody")
class TheSlowestGroupHoldsAllBack(Queue):
    """One ring for all groups: who is ahead waits for the one that is behind."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            behind = max(len(other._fresh) for other in queue._topic.groups.values())
            limit = min(limit, RING - (behind - len(queue._fresh)))
        return super().take(feed, limit) if limit > 0 else []

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        while not (taken := self.take(feed, limit)):
            await anyio.sleep(0.001)
        return taken


@broken("test_a_busy_topic_does_not_starve_a_quiet_one")
class TheFirstTopicComesFirst(Queue):
    """Topics are read one after the other: the second one waits until the first is empty."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        first, *_ = sorted(feed._queues, key=lambda queue: -len(queue._fresh))
        if len(feed._queues) > 1 and first.ready:
            held = self._clock.time() + feed._lease
            return first.lease(limit, held, feed._held)
        return super().take(feed, limit)


@broken("test_held_plus_buffered_never_exceeds_in_flight")
class FetchesWithoutLimit(Queue):
    """A fetch takes whatever is there: an unbounded buffer, and nothing left for the others."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return super().take(feed, 1_000_000)


@broken("test_held_plus_buffered_never_exceeds_in_flight")
class FetchesOneTooMany(Queue):
    """The window is off by one."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return super().take(feed, limit + 1)


@broken("test_nothing_is_dropped_while_the_reader_is_slow")
class DropsWhatDoesNotFit(Queue):
    """What a consumer has no room for is dropped, as if nobody were owed it."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        for queue in feed._queues:
            while len(queue._fresh) > 2 * RING:
                queue._owe_no_more(queue._fresh.popleft())
        return taken


@broken("test_an_idle_subscription_does_not_spin")
class AsksAgainAndAgain(Queue):
    """A receive with nothing to return asks again at once, for ever."""

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        while not (taken := feed._take(limit)):
            await checkpoint()
        return taken


@broken("test_a_consumer_that_waits_gets_what_is_published")
class SleepsThroughAPublish(Queue):
    """A publish wakes nobody who waits: what it brought is seen when something else happens."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return [
            Receipt(record.id, record.topic, kept.position)
            for record in records
            if (kept := self._broker.publish(record, self._clock.time())) is not None
        ]


@broken("test_delayed_nacks_do_not_eat_the_window")
class DelayedOnesEatTheWindow(Queue):
    """What was nacked with a delay counts as held until its delay is over."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            feed.notes.append(in_flight)
            yield feed

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        (in_flight,) = feed.notes
        delayed = sum(len(queue._delayed) for queue in feed._queues)
        return super().take(feed, max(0, min(limit, in_flight - len(feed._held) - delayed)))

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        while not (taken := self.take(feed, limit)):
            await anyio.sleep(0.001)
        return taken


@broken("test_concurrent_publishers_lose_nothing")
class DeliversThingsTwice(Queue):
    """A page of messages that was cut short is fetched again from its last one on."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        return [*taken, taken[-1]] if 0 < len(taken) < limit else taken


@broken("test_one_consumer_gets_a_topic_in_the_order_of_publishing")
class DeliversTheLastFirst(Queue):
    """A stack: of what is there the last one comes first."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [*reversed(super().take(feed, limit))]


@broken("test_a_nacked_message_comes_before_what_was_not_delivered")
class QueuesNackedOnesAtTheEnd(Queue):
    """A nacked message goes to the end, and what came after it overtakes it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            feed.notes.append(lease.kept.number)
        return super().settle_one(feed, lease, settlement, now)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        aside = [(queue, queue._returned) for queue in feed._queues if queue._fresh]
        for queue, _ in aside:
            queue._returned = []
        taken = super().take(feed, limit)
        for queue, returned in aside:
            queue._returned = returned
        return taken
