"""Fault 30: two subscribers are the first of a channel at the same time. Do both hear?"""

import asyncio

from _stage import messages, play
from broadcaster import Broadcast


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    ready = asyncio.Semaphore(0)
    published = asyncio.Event()

    async def hear():
        try:
            async with broadcast.subscribe(name) as subscriber:
                ready.release()
                await published.wait()
                return await messages(subscriber, 1)
        finally:
            ready.release()  # also when it could not subscribe

    both = [asyncio.create_task(hear()) for _ in range(2)]
    for _ in both:
        await ready.acquire()
    await broadcast.publish(name, "to both")
    published.set()
    heard = await asyncio.gather(*both, return_exceptions=True)
    return {"heard": [one if isinstance(one, list) else type(one).__name__ for one in heard]}


play(main)
