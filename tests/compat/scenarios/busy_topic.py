"""Fault 24: do all messages of a busy stream come before the one of a quiet stream?"""

import asyncio

from _stage import play
from broadcaster import Broadcast
from redis.asyncio import Redis

BUSY = 1000


async def main(url, name):
    async with (
        Broadcast(url.replace("redis:", "redis-stream:")) as broadcast,
        Redis.from_url(url) as client,
        broadcast.subscribe(f"{name}-busy") as busy,
        broadcast.subscribe(f"{name}-quiet") as quiet,
    ):
        count = 0

        async def read_busy():
            nonlocal count
            async for _ in busy:
                count += 1

        reading = asyncio.create_task(read_busy())
        pipe = client.pipeline()
        for n in range(BUSY):
            pipe.xadd(f"{name}-busy", {"message": n})
        pipe.xadd(f"{name}-quiet", {"message": "at last"})
        await pipe.execute()
        event = await quiet.get()
        found = {"starved": count == BUSY, "quiet": event.message}
        reading.cancel()
        return found


play(main)
