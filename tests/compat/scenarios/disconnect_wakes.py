"""Fault 2: the application disconnects while a subscriber waits. Does its loop end?"""

import asyncio

from _stage import outcome, play
from broadcaster import Broadcast


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    ready = asyncio.Event()

    async def hear():
        async with broadcast.subscribe(name) as subscriber:
            ready.set()
            async for _ in subscriber:
                pass

    hearing = asyncio.create_task(hear())
    await ready.wait()
    found = {"disconnect": await outcome(broadcast.disconnect())}
    return {**found, "reader": await outcome(hearing)}


play(main)
