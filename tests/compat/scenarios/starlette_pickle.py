"""Fault 38: somebody publishes a pickle that calls a function."""

import os
import pickle

from _layers import make_layer
from _stage import outcome, play
from redis.asyncio import Redis
from starlette_web.common.channels.base import Channel


class Call:
    def __reduce__(self):
        return exec, ("import os; os.environ['HOSTILE'] = 'was here'",)


async def main(url, name):
    client = Redis.from_url(url)

    async def listen():
        async with Channel(make_layer(url)) as channel, channel.subscribe(name) as subscriber:
            await client.publish(name, pickle.dumps(Call()))
            await channel.publish(name, "after")
            async for event in subscriber:
                if event.message == "after":
                    break

    found = {"listener": await outcome(listen()), "ran": os.environ.get("HOSTILE")}
    await client.aclose()
    return found


play(main)
