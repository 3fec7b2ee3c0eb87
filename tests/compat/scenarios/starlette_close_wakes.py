"""Faults 2, 29: the channel is left while a subscriber in another task waits."""

import asyncio

from _layers import make_layer
from _stage import PATIENCE, play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    closing, listening = asyncio.Event(), asyncio.Event()
    found = {}

    async def keep(channel):
        async with channel:
            listening.set()
            await closing.wait()

    async def read(channel):
        async with channel.subscribe(name) as subscriber:
            subscribed.set()
            async for _ in subscriber:
                pass

    subscribed = asyncio.Event()
    channel = Channel(make_layer(url))
    keeping = asyncio.create_task(keep(channel))
    await listening.wait()
    reading = asyncio.create_task(read(channel))
    await subscribed.wait()
    await asyncio.sleep(0.05)
    closing.set()
    await keeping
    done, _ = await asyncio.wait([reading], timeout=PATIENCE)
    found["reader"] = "ends" if done else "hangs"
    reading.cancel()
    await asyncio.wait([reading], timeout=PATIENCE)
    if not reading.done():
        found["then"] = "hangs"
    elif reading.cancelled():
        found["then"] = "CancelledError"
    else:
        found["then"] = type(reading.exception()).__name__ if reading.exception() else "ok"
    return found


play(main)
