"""Fault 23: does a subscriber that does not read hold up another one?"""

from _layers import make_layer
from _stage import outcome, play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    heard = []

    async def use():
        async with Channel(make_layer(url)) as channel:
            async with channel.subscribe(name), channel.subscribe(name, 1000) as fast:
                for n in range(500):
                    await channel.publish(name, f"{n}")
                async for event in fast:
                    heard.append(event.message)
                    if len(heard) == 500:
                        break

    return {"fast": await outcome(use()), "heard": len(heard)}


play(main)
