"""Faults 28 and 37: somebody publishes bytes that are no UTF-8, then a text."""

from _stage import messages, outcome, play
from broadcaster import Broadcast
from redis.asyncio import Redis


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    client = Redis.from_url(url)
    async with broadcast.subscribe(name) as subscriber:
        await broadcast.publish(name, "before")
        assert await messages(subscriber, 1) == ["before"]
        await client.publish(name, b"\xff\xfe")
        published = await outcome(broadcast.publish(name, "after"))
        heard = await messages(subscriber, 2)
    await client.aclose()
    return {"heard": heard, "published": published}


play(main)
