"""Healthy layers in which each step can be done wrongly: what every broken layer is made from."""

# pyright: reportPrivateUsage=false
# Bugs are planted where bugs are: inside.

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Any, Final, cast

import anyio
import msgspec

from acked.abc import Clock
from acked.conformance.harness import Call
from acked.errors import LayerError, PublishFailed
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.memory_queue._feed import MemoryQueueFeed
from acked.layers.memory_queue._group import GroupQueue, RecordLease, StoredTopic
from acked.layers.memory_queue._kept import Kept
from acked.layers.memory_queue._topic_set import NEVER, TopicSet
from acked.types import (
    Gap,
    GapCause,
    Leased,
    Outcome,
    Receipt,
    Record,
    Settlement,
    Start,
    Token,
)

__all__ = (
    "BACKLOG",
    "Broadcast",
    "ConnectedQueue",
    "Feed",
    "OtherMoments",
    "Queue",
    "RememberingQueue",
    "changed",
    "remove",
)

BACKLOG: Final = 2000
"""More than any law publishes to one topic."""

RightFeed: Final = MemoryQueueFeed


class Feed(MemoryQueueFeed):
    """One consumer, which asks its layer how to do each step."""

    layer: "Queue"

    def __init__(self, layer: "Queue", topics: TopicSet[GroupQueue], lease: float) -> None:
        super().__init__(layer._broker, layer._clock, topics, lease)
        self.layer = layer
        self.notes: list[Any] = []
        """What a bug remembers of this consumer."""

    async def receive(self, limit: int) -> Sequence[Leased]:
        return await self.layer.receive(self, limit)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        return await self.layer.settle(self, batch)

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        return await self.layer.extend(self, tokens, seconds)

    async def release(self, tokens: Sequence[Token]) -> None:
        await self.layer.release(self, tokens)

    def leave(self) -> None:
        self.layer.leave(self)

    def _take(self, limit: int) -> list[Leased]:
        self._look()
        taken = self.layer.take(self, limit)
        self._look()
        return taken

    async def _wait(self) -> None:
        self._look()
        await super()._wait()

    def _nudge(self) -> None:
        self._look()
        super()._nudge()

    def _look(self) -> None:
        """Find what bugs did to the groups, which did not tell their sets of it."""
        for queue in self._queues:
            self._topics.look_at(queue)

    def _settle(self, lease: RecordLease, settlement: Settlement, now: float) -> Outcome:
        return self.layer.settle_one(self, lease, settlement, now)


class Remembered:
    """What a topic keeps, and what its groups owe of it; what is held now is free then."""

    def __init__(self, stored: StoredTopic) -> None:
        self._stored = stored
        self._numbers = copy(stored._numbers)
        self._kept = {number: (kept, kept.owed) for number, kept in stored.kept.items()}
        self._queues = {
            queue: (
                deque(queue._fresh),
                [*queue._returned, *((one.kept.number, one.charged, one.kept) for one in held)],
                list(queue._delayed),
            )
            for queue in stored.groups.values()
            for held in [list(queue._leases())]
        }

    def restore(self) -> None:
        """Let all be as it was."""
        self._stored._numbers = self._numbers
        self._stored.kept = {number: kept for number, (kept, _) in self._kept.items()}
        for kept, owed in self._kept.values():
            kept.owed = owed
        for queue, (fresh, returned, delayed) in self._queues.items():
            queue._fresh, queue._returned, queue._delayed = fresh, sorted(returned), delayed
            queue._ends, queue._overdue, queue.held = [], {}, 0
        self._stored.nudge()


class Queue(MemoryQueueLayer):
    """A memory queue; a broken one overrides the step that it does wrongly."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock, max_backlog=BACKLOG)
        self.feeds: list[Feed] = []
        self.refusals: dict[Call, LayerError] = {}
        """What is refused at present, and why."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        """Join as the memory queue does."""
        feed = Feed(self, self._broker.join(group, topics, start), lease)
        self.feeds.append(feed)
        try:
            yield feed
        finally:
            self.feeds.remove(feed)
            feed.leave()
            self._broker.leave(group, topics)

    async def refuse(self, topic: str) -> None:
        """Fill the topic up, as the hook of the harness must."""
        await MemoryQueueLayer.publish(self, [Record(topic, b"", str(n)) for n in range(BACKLOG)])

    @asynccontextmanager
    async def saying_no(self, call: Call, *, may_pass: bool) -> AsyncGenerator[None]:
        """Refuse `call` while within, as the hooks `busy` and `forbid` must."""
        error = LayerError(f"the broker refuses to {call}", may_pass=may_pass)
        error.__cause__ = OSError("what the broker said")
        self.refusals[call] = error
        try:
            yield
        finally:
            del self.refusals[call]

    @asynccontextmanager
    async def fall_back(self) -> AsyncGenerator[None]:
        """Forget what happens while within, as the hook of that name must."""
        before = [Remembered(stored) for stored in self._broker.topics.values()]
        yield
        for feed in self.feeds:
            feed._held.clear()
        for one in before:
            one.restore()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish all of `records`, or none."""
        if (error := self.refusals.get("publish")) is not None:
            failures = dict.fromkeys(range(len(records)), error)
            raise PublishFailed(f"refused: {error}", failures, indeterminate=False)
        return await super().publish(records)

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        """Wait for messages."""
        if (error := self.refusals.get("receive")) is not None:
            raise error
        return await RightFeed.receive(feed, limit)

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Settle a batch."""
        if (error := self.refusals.get("settle")) is not None:
            return cast("Sequence[Outcome]", [error] * len(batch))
        return cast("Sequence[Outcome]", await RightFeed.settle(feed, batch))

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        """Extend leases."""
        if (error := self.refusals.get("extend")) is not None:
            return cast("Sequence[Outcome]", [error] * len(tokens))
        return await RightFeed.extend(feed, tokens, seconds)

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        """Give back."""
        await RightFeed.release(feed, tokens)

    def leave(self, feed: Feed) -> None:
        """Leave the group."""
        RightFeed.leave(feed)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Lease what is ready."""
        return RightFeed._take(feed, limit)

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Carry out one settlement of a valid lease."""
        return cast("Outcome", RightFeed._settle(feed, lease, settlement, now))


class RememberingQueue(Queue):
    """A queue that remembers, beyond a lease, which message its token was for."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._leased: dict[Token, Kept] = {}

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Lease what is ready."""
        taken = super().take(feed, limit)
        self._leased |= {one.token: feed._held[one.token].kept for one in taken}
        return taken

    def lease_by_now(self, token: Token) -> RecordLease | None:
        """Return the lease that somebody has of the message that `token` was for."""
        kept = self._leased[token]
        leases = (lease for feed in self.feeds for lease in feed._held.values())
        return next((lease for lease in leases if lease.kept is kept), None)


class OtherMoments(Queue):
    """A queue whose groups tell otherwise when there may be something for who waits."""

    def next_moment(self, queue: GroupQueue) -> float:
        """Return the moment at which who waits for `queue` looks again by itself."""
        raise NotImplementedError

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            for queue in feed._queues:
                vars(queue)["next_moment"] = partial(self.next_moment, queue)
            yield feed


class ConnectedQueue(Queue):
    """A queue whose leases are connections: they end when one breaks, and not before."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        claimed = msgspec.structs.replace(self.capabilities, lease="connection", extend=False)
        vars(self)["capabilities"] = claimed

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        """Join for as long as the connection is there."""
        right = super().consume(topics, group, in_flight=in_flight, lease=NEVER, start=start)
        async with right as feed:
            yield feed

    async def end_leases(self, topic: str, group: str) -> None:
        """Break the connections of a group's consumers, as the hook of the harness must."""
        queue = self._broker.topic(topic).groups[group]
        for feed in self.feeds:
            for lease in [one for one in feed._held.values() if one.queue is queue]:
                del feed._held[lease.token]
                queue.give_back(lease, charge=True)
        queue.nudge()


class Broadcast(MemoryLayer):
    """A memory layer with a connection; a broken one overrides what it does wrongly."""

    async def cut(self) -> None:
        """Miss what is published for a moment, and tell that something may have been missed."""
        away, patterns = self._listeners, self._patterns
        self._listeners, self._patterns = {}, {}
        await anyio.sleep(0.005)
        self._listeners, self._patterns = away, patterns
        everybody = {one: None for several in away.values() for one in several}
        for listener in [*everybody, *patterns]:
            listener.sink.gap(Gap(None, frozenset({GapCause.RECONNECT})))


def remove(feed: Feed, lease: RecordLease) -> None:
    """Owe the message of `lease` no more."""
    del feed._held[lease.token]
    lease.queue.settled(lease)


def changed(records: Sequence[Record], **fields: Any) -> list[Record]:
    """Return copies of `records` with other `fields`."""
    return [msgspec.structs.replace(record, **fields) for record in records]
