"""pgqueuer: jobs in tables of PostgreSQL, fetched and logged in batches, on asyncpg."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.clock import Work, play
from benchmarks.peers.reading import texts

MANY = 100
BODY = texts(1)[0].encode()


class Opened(NamedTuple):
    """What a contender uses: the queries of the publisher, the manager of the consumer."""

    queries: Any
    manager: Any
    modes: Any


@asynccontextmanager
async def opened(work: Work) -> AsyncGenerator[Opened]:
    """Connect twice, and make the tables; another contender may have made them."""
    asyncpg: Any = import_module("asyncpg")
    drivers: Any = import_module("pgqueuer.db")
    queries_of: Any = import_module("pgqueuer.queries").Queries
    manager_of: Any = import_module("pgqueuer.qm").QueueManager
    modes: Any = import_module("pgqueuer.types").QueueExecutionMode
    publishing, consuming = await asyncpg.connect(work.url), await asyncpg.connect(work.url)
    queries = queries_of(drivers.AsyncpgDriver(publishing))
    if not await publishing.fetchval("select to_regclass('pgqueuer') is not null"):
        await queries.install()
    manager = manager_of(queries_of(drivers.AsyncpgDriver(consuming)))
    yield Opened(queries, manager, modes)
    await publishing.close()
    await consuming.close()


async def drained(work: Work, size: int) -> None:
    """Publish and drain `size` at a time."""
    async with opened(work) as (queries, manager, modes):

        @manager.entrypoint(work.topic)
        async def handle(job: Any) -> None:
            json.loads(job.payload)

        with work.clock.running():
            for first in range(0, work.count, size):
                some = min(size, work.count - first)
                await queries.enqueue([work.topic] * some, [BODY] * some, [0] * some)
            await manager.run(
                batch_size=size, mode=modes.drain, dequeue_timeout=timedelta(seconds=1)
            )


async def lone(work: Work) -> None:
    """Hand over one job after the other to a manager that waits."""
    handled = asyncio.Event()
    async with opened(work) as (queries, manager, _):

        @manager.entrypoint(work.topic)
        async def handle(job: Any) -> None:
            json.loads(job.payload)
            handled.set()

        running = asyncio.create_task(manager.run(batch_size=1))
        await queries.enqueue([work.topic], [BODY], [0])
        await handled.wait()
        with work.clock.running():
            for _ in range(work.count):
                handled.clear()
                await queries.enqueue([work.topic], [BODY], [0])
                await handled.wait()
                work.clock.lap()
        manager.shutdown.set()
        await running


WAYS = {"many": partial(drained, size=MANY), "one": partial(drained, size=1), "lone": lone}

if __name__ == "__main__":
    play(WAYS)
