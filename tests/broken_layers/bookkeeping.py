"""Broken bookkeeping: who has what, and what was said of it, is noted where it does not hold."""


# pyright: reportPrivateUsage=false

import heapq
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

import msgspec

from acked.abc import Clock
from acked.errors import LayerError
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Settlement, Start, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RememberingQueue, remove

__all__ = ()


@broken("test_giving_one_back_ends_nothing_for_the_others")
class StopsHeartbeatsOnARelease(Queue):
    """Giving something back is taken for the begin of the end, and heartbeats stop with it.

    https://github.com/Bogdanp/dramatiq/issues/159
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        feed.notes.append("leaves")
        await super().release(feed, tokens)

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        if not feed.notes:
            return await super().extend(feed, tokens, seconds)
        return [Outcome.CONFIRMED if one in feed._held else Outcome.LOST for one in tokens]


@broken("test_a_stale_settlement_is_lost_and_spares_the_new_holder")
class NacksWhatAnotherHas(RememberingQueue):
    """A rollback resets the claim of whoever has it by now.

    https://github.com/blehnen/DotNetWorkQueue/pull/347
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        for one in batch:
            if one.verb is Verb.NACK and one.token not in feed._held:
                lease = self.lease_by_now(one.token)
                if lease is not None:
                    del lease.holder[lease.token]
                    lease.queue.give_back(lease, charge=True)
        return await super().settle(feed, batch)


@broken("test_forty_extended_at_once_are_all_extended")
class ExtendsAllOrNone(Queue):
    """One lease of a batch has ended, so the whole request to extend is refused.

    https://github.com/softwaremill/elasticmq/issues/632
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        if all(one in feed._held for one in tokens):
            return await super().extend(feed, tokens, seconds)
        return [Outcome.LOST for _ in tokens]


@broken("test_eleven_hundred_acks_at_once_are_each_answered")
class CountsDeliveriesInAByte(Queue):
    """The numbers of deliveries begin anew, and one still in flight has the same as a later one.

    https://github.com/emqx/qmqtt/pull/262
    """

    PAGE: Final = 256

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        renamed: list[Leased] = []
        for one in taken:
            lease = feed._held.pop(one.token)
            lease.token = cast("int", one.token) % self.PAGE
            feed._held[lease.token] = lease
            heapq.heappush(lease.queue._ends, (lease.until, lease.token, lease))
            renamed.append(msgspec.structs.replace(one, token=lease.token))
        return renamed


@broken("test_outcomes_stay_with_their_members_over_several_topics")
class HoldsAcksBackBehindAGap(Queue):
    """An ack is kept until all before it are acked too, and is gone if the consumer leaves first.

    https://github.com/reactor/reactor-kafka/pull/260
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = Outcome.CONFIRMED
        if settlement.verb is Verb.ACK:
            feed.notes.append(lease.token)
        else:
            outcome = super().settle_one(feed, lease, settlement, now)
        done = True
        for token, one in sorted(feed._held.items(), key=lambda item: item[1].kept.number):
            done = done and token in feed.notes
            if done:
                remove(feed, one)
        return outcome

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await super().extend(feed, feed.notes, seconds)
        return await super().extend(feed, tokens, seconds)


@broken("test_what_a_zombie_settles_is_not_settled_later")
class AbortsTheNext(RememberingQueue):
    """What cannot be settled any more is noted, and the next delivery of it is settled unseen.

    https://github.com/python-arq/arq/issues/485
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._aborted: set[int] = set()

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        stale = [one.token for one in batch if one.token not in feed._held]
        self._aborted |= {id(self._leased[one]) for one in stale if one in self._leased}
        return await super().settle(feed, batch)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        left: list[Leased] = []
        for one in taken:
            lease = feed._held[one.token]
            if id(lease.kept) in self._aborted:
                remove(feed, lease)
            else:
                left.append(one)
        return left


@broken("test_a_stale_settlement_is_lost_and_spares_the_new_holder")
class AStaleNackRaises(Queue):
    """The server says that a job is not being done, and that ends the consumer.

    https://github.com/procrastinate-org/procrastinate/issues/1131
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        if any(one.verb is Verb.NACK and one.token not in feed._held for one in batch):
            raise LayerError("a job was not found, or is not being done")
        return await super().settle(feed, batch)


@broken("test_a_waiting_consumer_gets_what_another_one_gave_back")
class LeavingRevokesFromAll(Queue):
    """A consumer that leaves makes all others give up what they have, and it comes again.

    https://github.com/typelevel/fs2-kafka/issues/1051
    """

    def leave(self, feed: Feed) -> None:
        super().leave(feed)
        for other in self.feeds:
            for lease in [*other._held.values()]:
                if lease.queue in feed._queues:
                    del other._held[lease.token]
                    lease.queue.give_back(lease, charge=False)
        feed._nudge()


@broken("test_a_group_that_settled_nothing_keeps_its_place")
class ForgetsAGroupThatSettledNothing(Queue):
    """A group is where it committed, and before it has committed it begins anew where it is told.

    https://github.com/confluentinc/confluent-kafka-dotnet/issues/1792
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._committed: set[int] = set()

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        self._committed.add(id(lease.queue))
        return super().settle_one(feed, lease, settlement, now)

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        for topic in map(self._broker.topic, topics):
            queue = topic.groups.get(group)
            if queue and not queue.consumers and id(queue) not in self._committed:
                topic.remove(group)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed
