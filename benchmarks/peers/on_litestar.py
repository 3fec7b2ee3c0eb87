"""litestar's channels: the plugin in an application that serves nothing else."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import fanned_out, heard, texts

PREFIX = "news"


@asynccontextmanager
async def opened(backend: Any, topic: str) -> AsyncGenerator[Any]:
    """Give the plugin of an application that runs."""
    plugin = import_module("litestar.channels").ChannelsPlugin(backend, channels=[topic])
    async with import_module("litestar").Litestar(plugins=[plugin]).lifespan():
        yield plugin


@asynccontextmanager
async def subscribed(plugin: Any, topic: str) -> AsyncGenerator[Any]:
    """Give the events of a subscription."""
    async with plugin.start_subscription(topic) as subscriber:
        yield subscriber.iter_events()


async def fan_out(work: Work, subscribers: int) -> None:
    """Publish in memory, as what waits until it is published."""
    backend = import_module("litestar.channels.backends.memory").MemoryChannelsBackend()
    async with opened(backend, work.topic) as plugin:
        subscribe = partial(subscribed, plugin, work.topic)
        await fanned_out(
            work, subscribers, subscribe, lambda text: plugin.wait_published(text, work.topic)
        )


async def over_redis(work: Work) -> None:
    """Read what the server publishes, and decode it."""
    client = import_module("redis.asyncio").Redis.from_url(work.url)
    backends: Any = import_module("litestar.channels.backends.redis")
    backend = backends.RedisChannelsPubSubBackend(redis=client)
    async with (
        opened(backend, work.topic) as plugin,
        subscribed(plugin, work.topic) as events,
    ):

        async def receive() -> None:
            json.loads(await anext(events))

        await heard(work, work.topic, texts(1)[0], receive)
    await client.aclose()


WAYS = {
    "memory-1": partial(fan_out, subscribers=1),
    "memory-100": partial(fan_out, subscribers=100),
    "redis": over_redis,
}

if __name__ == "__main__":
    play(WAYS)
