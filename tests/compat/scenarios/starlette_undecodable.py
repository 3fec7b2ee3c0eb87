"""Fault 37: somebody publishes bytes that are nothing the layer knows."""

from _layers import make_layer
from _stage import outcome, play
from redis.asyncio import Redis
from starlette_web.common.channels.base import Channel


async def main(url, name):
    client = Redis.from_url(url)
    heard = []

    async def listen():
        async with Channel(make_layer(url)) as channel, channel.subscribe(name) as subscriber:
            await client.publish(name, b"\xff\xfe")
            await channel.publish(name, "after")
            async for event in subscriber:
                heard.append(event.message)
                break

    found = {"listener": await outcome(listen()), "heard": heard}
    await client.aclose()
    return found


play(main)
