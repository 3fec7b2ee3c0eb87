"""Faults 30, 31: ten first subscribers of a group at once; when they have left, ten more."""

import asyncio

from _layers import make_layer
from _stage import play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    heard = []

    async def use(channel, subscribed):
        async with channel.subscribe(name) as subscriber:
            subscribed.release()
            async for event in subscriber:
                heard.append(event.message)
                break

    async with Channel(make_layer(url)) as channel:
        for turn in ("first", "second"):
            subscribed = asyncio.Semaphore(0)
            tasks = [asyncio.create_task(use(channel, subscribed)) for _ in range(10)]
            for _ in tasks:
                await subscribed.acquire()
            await channel.publish(name, turn)
            await asyncio.wait(tasks)
    return {"heard": [heard.count("first"), heard.count("second")]}


play(main)
