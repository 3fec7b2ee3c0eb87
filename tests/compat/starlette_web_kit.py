"""What the tests of the original's channels share: names, reading, waiting, layers."""

import uuid
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from acked.compat.starlette_web.common.channels.base import Channel, Subscriber
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from compose.lifecycle import Broker
from tests.compat.scenarios import _layers

SOON = 10.0
ON_BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def name() -> str:
    return f"g{uuid.uuid4().hex}"


async def read(subscriber: Subscriber, count: int) -> list[Any]:
    """Return the next `count` messages."""
    found: list[Any] = []
    with anyio.fail_after(SOON):
        while len(found) < count:
            found.append((await anext(subscriber)).message)
    return found


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(SOON):
        while not is_true():
            await anyio.sleep(0.005)


def is_quiet(channel: Channel, layer: InMemoryChannelLayer) -> bool:
    """Whether nobody subscribes to anything."""
    return not channel._subscribers and not any(one > 0 for one in layer._subscribed.values())


def redis_layer(broker: Broker, **more: Any) -> RedisPubSubChannelLayer:
    return RedisPubSubChannelLayer(**_layers.options(broker.url), **more)
