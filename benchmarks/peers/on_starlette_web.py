"""starlette_web's channels, in memory and over Redis pub/sub."""

import json
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clock import Work, play
from benchmarks.peers.reading import fanned_out, heard, texts

Channel: Any = import_module("starlette_web.common.channels.base").Channel


async def fan_out(work: Work, subscribers: int) -> None:
    """Publish in memory."""
    layers: Any = import_module("starlette_web.common.channels.layers.local_memory")
    async with Channel(layers.InMemoryChannelLayer()) as channel:
        subscribe, publish = channel.subscribe, channel.publish
        await fanned_out(
            work, subscribers, partial(subscribe, work.topic), partial(publish, work.topic)
        )


async def over_redis(work: Work) -> None:
    """Read what the server publishes, and decode it."""
    layers: Any = import_module("starlette_web.contrib.redis.channel_layers")
    address = urlsplit(work.url)
    layer = layers.RedisPubSubChannelLayer(host=address.hostname, port=address.port, db=0)
    async with Channel(layer) as channel, channel.subscribe(work.topic) as subscriber:
        events = aiter(subscriber)

        async def receive() -> None:
            json.loads((await anext(events)).message)

        pickled: bytes = layer._serializer.serialize(texts(1)[0])  # noqa: SLF001 - as it publishes
        await heard(work, work.topic, pickled, receive)


WAYS = {
    "memory-1": partial(fan_out, subscribers=1),
    "memory-100": partial(fan_out, subscribers=100),
    "redis": over_redis,
}

if __name__ == "__main__":
    play(WAYS)
