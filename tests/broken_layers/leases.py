"""Broken leases and attempts: who holds a message, for how long, and how often it was delivered."""

# pyright: reportPrivateUsage=false

import heapq
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec
from anyio.lowlevel import checkpoint

from acked.layers.memory_queue._charge import Charge
from acked.layers.memory_queue._group import RecordLease, _is_true
from acked.types import Leased, Outcome, Settlement, Start, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RememberingQueue

__all__ = ()

AGES: Final = 1e9
"""Seconds."""


@broken("test_a_handler_that_outlives_the_lease_keeps_its_message")
class LeasesForTooShort(Queue):
    """Seconds taken for tenths: a lease ends long before the consumer renews it."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease / 10, start=start)
        async with right as feed:
            yield feed


@broken("test_what_a_silent_holder_had_comes_again_when_its_lease_ends")
class LeasesForEver(Queue):
    """A lease has no end: what a consumer that crashed had held is never recovered."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=AGES * lease, start=start)
        async with right as feed:
            yield feed

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return await super().extend(feed, tokens, AGES)


@broken("test_an_extension_ends_when_it_was_said_to")
class RenewsForEver(Queue):
    """Once renewed, a lease is renewed by the layer itself, whether or not the holder still is."""

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return await super().extend(feed, tokens, AGES)


@broken("test_an_extension_keeps_it_beyond_the_lease")
class ExtendsNothing(Queue):
    """An extension is confirmed, and the lease ends when it would have."""

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return [Outcome.CONFIRMED for _ in tokens]


@broken("test_a_stale_token_extends_and_releases_nothing")
class ExtendsWhatIsAnothers(RememberingQueue):
    """An extension claims the message, and takes it from a holder that has it by now."""

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        for token in tokens:
            theirs = self.lease_by_now(token)
            if theirs is not None and theirs.token != token:
                lease = msgspec.structs.replace(theirs, token=token, holder=feed._held)
                del theirs.holder[theirs.token]
                feed._held[token] = lease
        return await super().extend(feed, tokens, seconds)


@broken("test_what_a_leaving_holder_did_not_settle_comes_again_at_once")
class HoldsOnAfterLeaving(Queue):
    """What a consumer had fetched waits for the end of its lease, although it has left."""

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        return

    def leave(self, feed: Feed) -> None:
        held, feed._held = feed._held, {}
        super().leave(feed)
        feed._held = held


@broken("test_what_a_leaving_holder_did_not_settle_comes_again_at_once")
class LosesItsBufferOnLeaving(Queue):
    """What was fetched and not read is gone with the consumer."""

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await super().settle(feed, [Settlement(token, Verb.ACK) for token in tokens])


@broken("test_a_waiting_consumer_gets_what_another_one_gave_back")
class WakesNobodyForANack(Queue):
    """A consumer that waits is not woken by what another one nacks, as it does when it leaves."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        with _silent(feed):
            return await super().settle(feed, batch)

    def leave(self, feed: Feed) -> None:
        with _silent(feed):
            super().leave(feed)


@broken("test_a_waiting_consumer_gets_what_another_one_releases")
class WakesNobodyForARelease(Queue):
    """A consumer that waits is not woken by what another one gives back."""

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        with _silent(feed):
            await super().release(feed, tokens)


@broken("test_a_waiting_consumer_gets_what_a_feed_left_behind")
class WakesNobodyOnLeaving(Queue):
    """A consumer that waits is not woken by what another one leaves behind."""

    def leave(self, feed: Feed) -> None:
        with _silent(feed):
            super().leave(feed)


@broken("test_consumers_that_wait_share_what_is_published")
class WakesOneForAll(Queue):
    """A publish of several wakes one consumer, and what that one leaves there nobody fetches."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        with _silent(feed):
            return super().take(feed, limit)


@broken("test_a_subscription_cancelled_at_any_step_loses_nothing")
class LosesWhatACancelledReceiveTook(Queue):
    """A receive that is cancelled between the broker's answer and its return drops the answer."""

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        taken = await super().receive(feed, limit)
        try:
            await checkpoint()
        except BaseException:
            for one in taken:
                lease = feed._held.pop(one.token)
                lease.queue.settled(lease)
            raise
        return taken


@broken("test_a_message_has_one_holder_at_a_time")
class GivesOneMessageToTwo(Queue):
    """Two consumers that ask at the same moment get the same message."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        for one in taken:
            lease = feed._held[one.token]
            if any(other is not feed for other in feed._topics.asleep):
                lease.kept.owed += 1
                lease.queue._fresh.append(lease.kept)
        return taken


@broken("test_a_handler_that_outlives_the_lease_keeps_its_message")
class FreesEverythingWhenSomebodyJoins(Queue):
    """A consumer that joins begins with what the group has not acked, held or not."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        queues = [self._broker.topic(name).join(group, start) for name in topics]
        for feed in self.feeds:
            for held in [one for one in feed._held.values() if one.queue in queues]:
                del feed._held[held.token]
                held.queue.give_back(held, charge=True)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


@broken("test_a_release_is_no_attempt")
class ChargesAReleaseAsAnAttempt(Queue):
    """What nobody saw counts as delivered: shutdowns use up the deliveries of a message."""

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        for token in tokens:
            lease = feed._held.get(token)
            if lease is not None:
                del feed._held[token]
                lease.queue.give_back(lease, charge=True)
        feed._nudge()


@broken("test_attempts_count_every_redelivery_and_no_release")
class DoesNotCountALeaseThatEnded(Queue):
    """Only a nack counts: a poison that kills its consumers is delivered for ever."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            ends, now = queue._ends, self._clock.time()
            while ends and ends[0][0] <= now:
                end = heapq.heappop(ends)
                if _is_true(end):
                    del end[2].holder[end[1]]
                    queue.give_back(end[2], charge=False)
        return super().take(feed, limit)


@broken("test_attempts_count_every_redelivery_and_no_release")
class ANackResetsTheAttempts(Queue):
    """A nack publishes the message anew, with a count that begins at 1."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            lease.charged = Charge(deliveries=-1)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_attempts_count_every_redelivery_and_no_release")
class CountsAttemptsInTheConsumer(Queue):
    """Every consumer counts for itself, and the next one begins at 1."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        feed.notes += [one.record.id for one in taken]
        counts = Counter(feed.notes)
        return [msgspec.structs.replace(one, attempt=counts[one.record.id]) for one in taken]


@contextmanager
def _silent(feed: Feed) -> Generator[None]:
    """Let `feed` wake nobody meanwhile."""
    aside, feed._topics.asleep = feed._topics.asleep, OrderedDict()
    try:
        yield
    finally:
        feed._topics.asleep = aside
