"""Fault 35: the longest text that NOTIFY carries, and one byte more."""

from _layers import make_layer
from _stage import play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    found = {}
    async with Channel(make_layer(url)) as channel, channel.subscribe(name) as subscriber:
        for size in (7999, 8000):
            try:
                await channel.publish(name, "x" * size)
            except Exception as error:
                found[f"{size}"] = type(error).__name__
            else:
                found[f"{size}"] = "ok"
        async for event in subscriber:
            found["heard"] = len(event.message)
            break
    return found


play(main)
