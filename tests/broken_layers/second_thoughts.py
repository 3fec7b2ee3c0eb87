"""Broken second thoughts: what is asked after, beside or instead of a settlement."""

# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio.lowlevel
import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._charge import NOTHING
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.types import Leased, Outcome, Settlement, Start, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


@broken("test_a_delay_may_be_longer_than_a_day")
class DelaysInThirtyTwoBits(Queue):
    """A delay in milliseconds that needs more than thirty-one bits is none.

    https://github.com/OptimalBits/bull/pull/452
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        fits = [
            msgspec.structs.replace(one, delay=one.delay if one.delay * 1000 < 2**31 else 0.0)
            for one in batch
        ]
        return await super().settle(feed, fits)


@broken("test_leaving_with_what_one_holds_is_an_attempt")
class CountsOnlyWhatWasNacked(Queue):
    """The count is kept by the consumer: with its connection it is gone.

    https://github.com/apache/pulsar/issues/8722
    """

    def leave(self, feed: Feed) -> None:
        for lease in feed._held.values():
            lease.charged = NOTHING
            lease.queue.give_back(lease, charge=False)
        feed._held.clear()
        super().leave(feed)


@broken("test_a_waiting_consumer_gets_what_a_feed_left_behind")
class OneThatLeavesKeepsWhatItHas(Queue):
    """A member leaves while there are others, and what it had not settled is not handed over.

    https://github.com/nats-io/nats-streaming-server/issues/157
    """

    def leave(self, feed: Feed) -> None:
        if any(set(one._queues) & set(feed._queues) for one in self.feeds):
            feed._held.clear()  # and nobody gives it back
        super().leave(feed)


@broken("test_a_renewal_that_comes_after_the_nack_changes_no_delay")
class AHeartbeatUndoesADelay(Queue):
    """A heartbeat that comes after the backoff was set writes its own end over it.

    https://github.com/novuhq/novu/pull/12437
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        held = {one.token: feed._held.get(one.token) for one in batch if one.delay}
        answers = await super().settle(feed, batch)
        feed.notes += [(token, lease) for token, lease in held.items() if lease is not None]
        return answers

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        answers = list(await super().extend(feed, tokens, seconds))
        until = self._clock.time() + seconds
        for place, token in enumerate(tokens):
            for lease in [lease for noted, lease in feed.notes if noted == token]:
                answers[place] = Outcome.CONFIRMED
                self.push_back(lease.queue, lease.kept.number, until)
        return answers

    def push_back(self, queue: GroupQueue, number: int, until: float) -> None:
        queue._delayed.sort()
        queue._delayed[:] = sorted(
            (until if item[1] == number else item[0], *item[1:]) for item in queue._delayed
        )


@broken("test_a_delay_outlives_the_channel")
class LeavingSkipsWhatIsDelayed(Queue):
    """A consumer that stops with a retry to come commits what is behind it.

    https://github.com/BEagle1984/silverback/issues/253
    """

    def leave(self, feed: Feed) -> None:
        for queue in feed._queues:
            for _, number, _, kept in list(queue._delayed):
                if number in feed.notes:
                    queue._delayed[:] = [one for one in queue._delayed if one[1] != number]
                    queue._owe_no_more(kept)
        super().leave(feed)

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK and settlement.delay:
            feed.notes.append(lease.kept.number)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_is_replayed_is_what_was_published")
class NobodyDiesTwice(Queue):
    """A message that comes to the same dead letters a second time is taken for a cycle, and dropped.

    https://github.com/rabbitmq/rabbitmq-website/pull/1913
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._buried: set[tuple[str, str]] = set()

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is not None:
            name = (letter.topic, letter.id)
            if name in self._buried:
                settlement = msgspec.structs.replace(settlement, dead_letter=None)
            self._buried.add(name)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_each_of_a_mixed_batch_is_settled_its_own_way")
class NacksTheFirstOfABatch(Queue):
    """One of a batch failed: its visibility is changed, and that of the failed ones behind it is not.

    https://github.com/bbc/sqs-consumer/issues/350
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        nacks = [one for one in batch if one.verb is Verb.NACK]
        done = [one for one in batch if one.verb is not Verb.NACK] + nacks[:1]
        answers = dict(
            zip([one.token for one in done], await super().settle(feed, done), strict=True)
        )
        return [answers.get(one.token, Outcome.CONFIRMED) for one in batch]


@broken("test_outcomes_stay_with_their_members_over_several_topics")
class NumbersAreOfTheTopic(Queue):
    """A receipt is the number in its topic: of two topics both have a first one.

    https://github.com/streadway/amqp/issues/381
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        renamed: list[Leased] = []
        for one in super().take(feed, limit):
            lease = feed._held[one.token]
            feed.notes.append((lease.kept.number, one.token))
            renamed.append(msgspec.structs.replace(one, token=("n", lease.kept.number)))
        return renamed

    def meant(self, feed: Feed, token: Token) -> Token:
        if not isinstance(token, tuple):
            return token
        found = [real for number, real in feed.notes if number == token[1] and real in feed._held]
        return found[0] if found else -1

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        meant = [msgspec.structs.replace(s, token=self.meant(feed, s.token)) for s in batch]
        return await super().settle(feed, meant)

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return await super().extend(feed, [self.meant(feed, one) for one in tokens], seconds)

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await super().release(feed, [self.meant(feed, one) for one in tokens])


@broken("test_a_group_that_settled_nothing_keeps_its_place")
class BeginsWhereItFirstReads(Queue):
    """A group that is new has no place before its first read came to an end: it begins at the latest.

    https://github.com/mailgun/kafka-pixy/issues/39
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        known = {name for name in topics if group in self._broker.topic(name).groups}
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed
            if not feed.notes:
                for name in set(topics) - known:
                    stored = self._broker.topic(name)
                    if stored.groups[group].consumers == 1:
                        stored.groups.pop(group).forget()
                        feed.notes.append("forgotten")

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        feed.notes += ["read"] * len(taken)
        return taken


@broken("test_a_subscription_cancelled_at_any_step_loses_nothing")
class ACancelledReadTakesOneAlong(Queue):
    """A read that is given up has its message already, and nobody else gets it before the lease ends.

    https://github.com/nats-io/nats.py/issues/392
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        batch = await super().receive(feed, limit)
        await anyio.lowlevel.checkpoint()
        return batch


@broken("test_nobody_takes_what_it_holds_from_itself")
class TakesFromItself(Queue):
    """A consumer finds what it holds among what is abandoned, when it was late to renew it.

    https://github.com/taskforcesh/bullmq/issues/3183
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            queue.tick(self._clock.time(), {})
        return super().take(feed, limit)
