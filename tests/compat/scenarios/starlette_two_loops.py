"""One channel, entered on one event loop and then on another one."""

import asyncio

from _layers import make_layer
from _stage import PATIENCE, outcome, play
from starlette_web.common.channels.base import Channel


async def main(url, name):
    channel = Channel(make_layer(url))

    async def once():
        async with channel, channel.subscribe(name) as subscriber:
            await channel.publish(name, "hello")
            async for event in subscriber:
                assert event.message == "hello"
                break

    def on_a_loop_of_its_own():
        return asyncio.run(outcome(once(), PATIENCE))

    return {"outcomes": [await asyncio.to_thread(on_a_loop_of_its_own) for _ in range(3)]}


play(main)
