"""Faults 31 and 32: leave the last channel, subscribe again. Does anything arrive?"""

import asyncio

from _stage import messages, play
from broadcaster import Broadcast


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    found = []
    for n in range(2):
        async with broadcast.subscribe(f"{name}-{n}") as subscriber:
            await broadcast.publish(f"{name}-{n}", f"message {n}")
            found.append(await messages(subscriber, 1))
        await asyncio.sleep(0.05)  # time for the listener to notice that nobody is left
    return {"heard": found}


play(main)
