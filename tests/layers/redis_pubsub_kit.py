"""What the tests of Redis pub/sub share: topics, a sink that keeps what it is told, counts."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import psutil
import redis.asyncio
from anyio import fail_after

from acked import (
    Gap,
    GapCause,
    LayerError,
    Topic,
)
from acked.codecs import RAW
from acked.types import Record
from compose.lifecycle import Broker

RECONNECTED = Gap(None, frozenset({GapCause.RECONNECT}))
OVERFLOWN = frozenset({GapCause.OVERFLOW})
SOON = 20.0

_numbers = itertools.count()


def fresh() -> Topic[bytes]:
    return Topic(f"news-{os.getpid()}-{next(_numbers)}", bytes, codec=RAW)


@asynccontextmanager
async def client_of(broker: Broker) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of somebody else's."""
    client = redis.asyncio.Redis.from_url(broker.url)
    try:
        yield client
    finally:
        await client.aclose()


async def until(is_true: Callable[[], bool]) -> None:
    with fail_after(SOON):
        while not is_true():
            await anyio.sleep(0.005)


def tasks() -> set[asyncio.Task]:
    return {one for one in asyncio.all_tasks() if one is not asyncio.current_task()}


def connections_to(port: int) -> int:
    found = psutil.Process().net_connections("tcp")
    return sum(1 for one in found if one.raddr and one.raddr.port == port)


class Recorder:
    """A sink that keeps what it is told; without `room` it has none until `release()`."""

    def __init__(self, *, room: bool = True) -> None:
        self.told: list[object] = []
        self.has_room = asyncio.Event()
        if room:
            self.has_room.set()

    def offer(self, record: Record) -> bool:
        if self.has_room.is_set():
            self.told.append(record.body)
        return self.has_room.is_set()

    async def send(self, record: Record) -> None:
        await self.has_room.wait()
        self.told.append(record.body)

    def gap(self, gap: Gap) -> None:
        self.told.append(gap)

    def fail(self, error: LayerError) -> None:
        self.told.append(error)
