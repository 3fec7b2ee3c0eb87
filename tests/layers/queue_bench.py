"""Short words for tests of an ack-capable layer on a clock that only the tests move."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio import wait_all_tasks_blocked

from acked.abc import AckFeed
from acked.clocks import VirtualClock
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Leased, Outcome, Record, Settlement, Start, Verb

LEASE = 30.0


class Bench:
    """A layer, its clock, and short words for what the tests do with them."""

    def __init__(self, max_backlog: int | None = None) -> None:
        self.clock = VirtualClock()
        self.layer = MemoryQueueLayer(clock=self.clock, max_backlog=max_backlog)

    async def publish(self, *names: str, topic: str = "t", time: float = 0.0) -> None:
        await self.layer.publish([Record(topic, b"", name, timestamp=time) for name in names])

    @asynccontextmanager
    async def feed(
        self, *topics: str, group: str = "g", lease: float = LEASE, start: Start = Start.EARLIEST
    ) -> AsyncGenerator[AckFeed]:
        async with self.layer.consume(
            topics or ["t"], group, in_flight=100, lease=lease, start=start
        ) as feed:
            yield feed


async def nothing(feed: AckFeed) -> bool:
    """Tell whether `feed` would have to wait."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_blocked, scope)
            await feed.receive(1)
    return scope.cancelled_caught


async def cancel_when_blocked(scope: anyio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def ids(feed: AckFeed, limit: int = 100) -> list[str]:
    return [leased.record.id for leased in await feed.receive(limit)]


async def one(feed: AckFeed) -> Leased:
    (leased,) = await feed.receive(1)
    return leased


async def settle(feed: AckFeed, verb: Verb, *leased: Leased, delay: float = 0.0) -> list[Outcome]:
    batch = [Settlement(each.token, verb, delay) for each in leased]
    return list(await feed.settle(batch))


CONFIRMED, LOST, UNKNOWN = Outcome.CONFIRMED, Outcome.LOST, Outcome.UNKNOWN


def start(tasks: anyio.abc.TaskGroup, feed: AckFeed, limit: int = 100) -> list[str]:
    """Receive once in a task of its own; return the list that its ids will be in."""
    got: list[str] = []

    async def receive() -> None:
        got.extend(await ids(feed, limit))

    tasks.start_soon(receive)
    return got
