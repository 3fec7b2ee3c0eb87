"""procrastinate: tasks in tables of PostgreSQL, one job fetched at a time, on psycopg 3.

It has no batches of jobs: by 100 means a batch published, and a hundred jobs side by side.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import bodies

MANY = 100


@asynccontextmanager
async def opened(work: Work) -> AsyncGenerator[Any]:
    """Give an application with its tables; another contender may have made them."""
    procrastinate: Any = import_module("procrastinate")
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=work.url))
    async with app.open_async():
        there = "select to_regclass('procrastinate_jobs') is not null as there"
        if not (await app.connector.execute_query_one_async(there))["there"]:
            await app.schema_manager.apply_schema_async()
        yield app


async def drained(work: Work, size: int) -> None:
    """Publish and drain `size` at a time."""
    async with opened(work) as app:

        @app.task(queue=work.topic, name="work")
        async def handle(**_: Any) -> None:
            pass

        jobs = bodies(work.count)
        with work.clock.running():
            for first in range(0, work.count, size):
                if size == 1:
                    await handle.defer_async(**jobs[first])
                else:
                    await handle.batch_defer_async(*jobs[first : first + size])
            await app.run_worker_async(
                queues=[work.topic], concurrency=size, wait=False, delete_jobs="always"
            )


async def lone(work: Work) -> None:
    """Hand over one job after the other to a worker that waits."""
    handled = asyncio.Event()
    async with opened(work) as app:

        @app.task(queue=work.topic, name="work")
        async def handle(**_: Any) -> None:
            handled.set()

        options = {"install_signal_handlers": False, "delete_jobs": "always"}
        worker = asyncio.create_task(app.run_worker_async(queues=[work.topic], **options))
        await handle.defer_async(**bodies(1)[0])
        await handled.wait()
        with work.clock.running():
            for job in bodies(work.count):
                handled.clear()
                await handle.defer_async(**job)
                await handled.wait()
                work.clock.lap()
        worker.cancel()
        await asyncio.wait([worker])


WAYS = {"many": partial(drained, size=MANY), "one": partial(drained, size=1), "lone": lone}

if __name__ == "__main__":
    play(WAYS)
