"""Fault 34: ten tasks publish at once."""

import asyncio

from _layers import make_layer
from _stage import PATIENCE, play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    heard = 0
    async with Channel(make_layer(url)) as channel, channel.subscribe(name) as subscriber:
        results = await asyncio.gather(
            *(channel.publish(name, f"message {n}") for n in range(10)), return_exceptions=True
        )
        errors = [type(one).__name__ for one in results if one is not None]
        try:
            async with asyncio.timeout(PATIENCE):
                async for _ in subscriber:
                    heard += 1
                    if heard == 10:
                        break
        except TimeoutError:
            pass
    return {"failed": len(errors), "errors": sorted(set(errors)), "heard": heard}


play(main)
