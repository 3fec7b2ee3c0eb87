"""One thing that applications do with a `Broadcast`, in a process of its own; prints seconds."""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

Broadcast: Any = import_module("broadcaster").Broadcast  # the original, or the shim

URL, WHAT, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
READERS = 100


async def connect_publish_close() -> None:
    for _ in range(COUNT):
        async with Broadcast(URL) as broadcast:
            await broadcast.publish("room", "x")


async def subscribe_leave() -> None:
    async with Broadcast(URL) as broadcast:
        for number in range(COUNT):
            async with broadcast.subscribe(f"room{number}"):
                pass


async def subscribe_leave_where_others_are() -> None:
    async with Broadcast(URL) as broadcast, broadcast.subscribe("room"):
        for _ in range(COUNT):
            async with broadcast.subscribe("room"):
                pass


async def subscribe_hear_leave() -> None:
    async with Broadcast(URL) as broadcast:
        for number in range(COUNT):
            async with broadcast.subscribe(f"room{number}") as subscriber:
                await broadcast.publish(f"room{number}", "x")
                await subscriber.get()


async def publish_then_read() -> None:
    async with Broadcast(URL) as broadcast, broadcast.subscribe("room") as subscriber:
        for _ in range(COUNT):
            await broadcast.publish("room", "x")
            await subscriber.get()


async def publish_beside_a_reader() -> None:
    await _read_by(1, COUNT)


async def publish_to_a_hundred() -> None:
    await _read_by(READERS, COUNT // READERS)


async def _read_by(readers: int, count: int) -> None:
    async def read(subscriber: Any) -> None:
        for _ in range(count):
            await subscriber.get()

    async with Broadcast(URL) as broadcast, AsyncExitStack() as rooms:
        entered = [
            await rooms.enter_async_context(broadcast.subscribe("r")) for _ in range(readers)
        ]
        reading = [asyncio.create_task(read(one)) for one in entered]
        for _ in range(count):
            await broadcast.publish("r", "x" * 100)
        await asyncio.gather(*reading)


async def round_trip() -> None:
    """Let the raw client ask: nobody who waits for an answer is faster."""
    if URL.startswith("redis"):
        async with import_module("redis.asyncio").Redis.from_url(URL) as client:
            for _ in range(COUNT):
                await client.ping()
    else:
        client = await import_module("asyncpg").connect(URL)
        for _ in range(COUNT):
            await client.execute("select 1")
        await client.close()


asyncio.run(_read_by(1, 1))  # what is imported when it is first used is none of its time
begun, begun_cpu = time.perf_counter(), time.process_time()
asyncio.run(globals()[WHAT]())
print(json.dumps([time.perf_counter() - begun, time.process_time() - begun_cpu]))
