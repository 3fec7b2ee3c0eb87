"""Fault 34: ten tasks publish at once."""

import asyncio

from _stage import messages, play
from broadcaster import Broadcast


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    async with broadcast.subscribe(name) as subscriber:
        done = await asyncio.gather(
            *(broadcast.publish(name, str(n)) for n in range(10)), return_exceptions=True
        )
        errors = sorted({type(one).__name__ for one in done if one is not None})
        failed = sum(one is not None for one in done)
        heard = await messages(subscriber, 10 - failed)
    await broadcast.disconnect()
    return {"failed": failed, "errors": errors, "heard": len(heard)}


play(main)
