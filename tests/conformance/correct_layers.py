"""Layers without a bug that are unlike ours: what they claim less, or do otherwise, is no fault."""

# pyright: reportPrivateUsage=false

import random
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Final

import anyio
import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._group import Kept
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Start, Token
from tests.broken_layers.planted import Feed, Queue

__all__ = ("CORRECT", "KeyOrdered", "OneAtATime", "OrderFree", "Slow", "SmallPayloads")

PARTITIONS: Final = 3
DELAY: Final = 0.03
"""Seconds that the slow layer's broker is away."""


class Claiming(Queue):
    """A memory queue that claims something else."""

    claims: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        claimed = msgspec.structs.replace(self.capabilities, **self.claims)
        vars(self)["capabilities"] = claimed
        self.chance = random.Random(1)


class OrderFree(Claiming):
    """Whatever is ready comes in any order, as from a queue that is spread over many servers."""

    claims = MappingProxyType(
        {"order": "none", "order_after_nack": False, "key_order": False, "publish_priority": False}
    )

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            queue.tick(self._clock.time(), feed._held)
            self.chance.shuffle(queue._fresh)
        aside = [(queue, queue._returned) for queue in feed._queues if queue._fresh]
        if self.chance.random() < 0.5:
            aside = []
        for queue, _ in aside:
            queue._returned = []
        taken = super().take(feed, limit)
        for queue, returned in aside:
            queue._returned = returned
        return taken


class KeyOrdered(Claiming):
    """Three partitions: a key has its own; what has none goes to any, as does whose turn it is."""

    claims = MappingProxyType({"order": "key", "publish_priority": False})

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            queue._fresh = self._interleaved(queue._fresh)
        return super().take(feed, limit)

    def _interleaved(self, fresh: deque[Kept]) -> deque[Kept]:
        partitions: list[deque[Kept]] = [deque() for _ in range(PARTITIONS)]
        for kept in sorted(fresh, key=lambda one: one.number):
            key = kept.record.id if kept.record.key is None else kept.record.key
            partitions[sum(key.encode()) % PARTITIONS].append(kept)
        merged: deque[Kept] = deque()
        while any(partitions):
            merged.append(self.chance.choice([one for one in partitions if one]).popleft())
        return merged


class SmallPayloads(Claiming):
    """Bodies of at most 512 bytes."""

    claims = MappingProxyType({"max_payload": 512})


class OneAtATime(Queue):
    """However many are asked for, one comes."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return super().take(feed, min(limit, 1))


class Slow(Queue):
    """Every request takes a while."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        await anyio.sleep(DELAY)
        return await super().publish(records)

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        await anyio.sleep(DELAY)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        await anyio.sleep(DELAY)
        return await super().receive(feed, limit)

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        await anyio.sleep(DELAY)
        return await super().settle(feed, batch)

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await anyio.sleep(DELAY)
        return await super().extend(feed, tokens, seconds)


CORRECT: Final = (OrderFree, KeyOrdered, SmallPayloads, OneAtATime)
"""Those that live by a virtual clock."""
