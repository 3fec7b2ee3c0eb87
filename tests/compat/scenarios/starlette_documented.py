"""The documented uses: one subscriber that stops; many coroutines on one channel; again and again.

An exception is what ends the infinite subscribers; three of the coroutines listen to one topic.
"""

import anyio
from _layers import make_layer
from _stage import play
from starlette_web.common.channels.base import Channel, Event


class Enough(Exception):
    pass


async def run(channel_context, name):
    heard = []
    listening = 0

    async def subscribe_to(channel, topic):
        nonlocal listening
        async with channel.subscribe(topic) as subscribe:
            listening += 1
            async for event in subscribe:
                assert type(event) is Event
                heard.append([event.group.removeprefix(name), event.message])

    async def publish(channel):
        while listening < 4:
            await anyio.sleep(0.01)
        for n in range(5):
            await channel.publish(f"{name}1", f"message {n}")
            await channel.publish(f"{name}2", f"other {n}")
        while len(heard) < 20:
            await anyio.sleep(0.01)
        raise Enough

    try:
        async with channel_context as channel:
            await channel.publish(name, "nobody hears this")
            async with anyio.create_task_group() as tasks:
                for topic in ("1", "1", "1", "2"):
                    tasks.start_soon(subscribe_to, channel, name + topic)
                tasks.start_soon(publish, channel)
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
        if type(error) is not Enough:
            raise
    return [[heard.count([topic, f"{word} {n}"]) for n in range(5)] for topic, word in TOPICS]


TOPICS = [("1", "message"), ("2", "other")]


async def main(url, name):
    channel_context = Channel(make_layer(url))
    return {"heard": [await run(channel_context, name) for _ in range(3)]}


play(main)
