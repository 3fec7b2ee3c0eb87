"""pgmq: a table for each queue, and functions in SQL, which its client brings along; on asyncpg.

A consumer that waits polls within the server, every 100 ms by default.
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
async def opened(work: Work) -> AsyncGenerator[tuple[Any, str]]:
    """Give a client and a queue; another contender may have installed the functions."""
    asyncpg: Any = import_module("asyncpg")
    connection = await asyncpg.connect(work.url)
    if not await connection.fetchval("select to_regclass('pgmq.meta') is not null"):
        await connection.execute(import_module("pgmq.install").get_embedded_install_sql())
    await connection.close()
    queue = work.topic.replace("-", "_")
    async with asyncpg.create_pool(work.url, min_size=2, max_size=2) as pool:
        client: Any = import_module("pgmq.async_queue").PGMQueue(pool=pool, init_extension=False)
        await client.create_queue(queue)
        yield client, queue


async def drained(work: Work, size: int) -> None:
    """Publish and drain `size` at a time."""
    async with opened(work) as (client, queue):
        orders = bodies(work.count)
        with work.clock.running():
            for first in range(0, work.count, size):
                await client.send_batch(queue, orders[first : first + size])
            left = work.count
            while left:
                found = await client.read_batch(queue, batch_size=size)
                await client.delete_batch(queue, [message.msg_id for message in found])
                left -= len(found)


async def lone(work: Work) -> None:
    """Hand over one message after the other to a loop that waits."""
    handled = asyncio.Event()
    async with opened(work) as (client, queue):

        async def consume() -> None:
            while True:
                for message in await client.read_with_poll(queue):
                    handled.set()
                    await client.delete(queue, message.msg_id)

        consuming = asyncio.create_task(consume())
        with work.clock.running():
            for body in bodies(work.count):
                handled.clear()
                await client.send(queue, body)
                await handled.wait()
                work.clock.lap()
        consuming.cancel()
        await asyncio.wait([consuming])


WAYS = {"many": partial(drained, size=MANY), "one": partial(drained, size=1), "lone": lone}

if __name__ == "__main__":
    play(WAYS)
