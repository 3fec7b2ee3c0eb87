"""Backends that inherit from ours: what they override is called, or refused by name."""

from typing import Any

import anyio
import pytest

from acked import ConfigurationError
from acked.compat.broadcaster import Broadcast, Event
from acked.compat.broadcaster.backends.kafka import KafkaBackend
from acked.compat.broadcaster.backends.memory import MemoryBackend
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.broadcaster.backends.redis import RedisBackend, RedisStreamBackend
from acked.compat.starlette_web.common.channels.base import Channel
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, name, soon

pytestmark = pytest.mark.anyio

KINDS: list[tuple[str, Any]] = [
    ("memory", MemoryBackend),
    ("redis", RedisBackend),
    ("redis-stream", RedisStreamBackend),
    ("postgres", PostgresBackend),
]


def watching(kind: Any) -> Any:
    """Return a subclass of `kind` that overrides all that an application may."""

    class Watching(kind):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            self.calls: list[str] = []

        async def subscribe(self, channel: str) -> None:
            self.calls.append("subscribe")
            if channel == "forbidden":
                raise PermissionError(channel)
            await super().subscribe(channel=channel)

        async def unsubscribe(self, channel: str) -> None:
            self.calls.append("unsubscribe")
            await super().unsubscribe(channel)

        async def next_published(self) -> Event:
            event = await super().next_published()
            return Event(event.channel, event.message.upper())

    return Watching


@pytest.mark.parametrize(("url", "kind"), KINDS, indirect=["url"])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_what_a_backend_overrides_is_called(url: str, kind: Any, afterwards: bool) -> None:
    backend = watching(kind)(url)

    class Handler(Broadcast):
        def __init__(self) -> None:
            super().__init__("memory://")
            self._backend = backend

    channel = name()
    async with Handler() if afterwards else Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "hello")
            assert await soon(subscriber) == "HELLO"
        with pytest.raises(PermissionError):
            async with broadcast.subscribe("forbidden"):
                pass
    assert backend.calls == ["subscribe", "unsubscribe", "subscribe"]


async def test_what_a_layer_of_starlette_web_overrides_is_called() -> None:
    calls: list[str] = []

    class Watching(InMemoryChannelLayer):
        async def subscribe(self, group: str, **kwargs: Any) -> None:
            calls.append("subscribe")
            await super().subscribe(group=group)

        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            calls.append("unsubscribe")
            await super().unsubscribe(group)

    async with Channel(Watching()) as channel, channel.subscribe("room") as subscriber:
        await channel.publish("room", "hello")
        with anyio.fail_after(SOON):
            assert (await anext(subscriber)).message == "hello"
    assert calls == ["subscribe", "unsubscribe"]


@pytest.mark.parametrize(
    ("kind", "method", "scheme"),
    [
        (RedisBackend, "_pubsub_listener", "redis"),
        (RedisStreamBackend, "wait_for_messages", "redis-stream"),
        (PostgresBackend, "_listener", "postgres"),
        (KafkaBackend, "_wait_for_assignment", "kafka"),
    ],
)
async def test_what_would_never_be_called_is_refused_by_name(
    kind: Any, method: str, scheme: str
) -> None:
    own = type("Own", (kind,), {method: lambda self: None})
    with pytest.raises(ConfigurationError, match=rf"Own\.{method} .*next_published"):
        await Broadcast(backend=own(f"{scheme}://localhost:1")).connect()


async def test_the_originals_clients_are_there(
    redis_broker: Broker, postgres_broker: Broker
) -> None:
    class Own(PostgresBackend):
        """What inherits has a connection; the others' `_conn` would be one too many."""

    redis, postgres = RedisBackend(redis_broker.url), Own(postgres_broker.url)
    streams = RedisStreamBackend(redis_broker.url.replace("redis", "redis-stream", 1))
    for backend in (redis, postgres, streams):
        async with Broadcast(backend=backend):
            if isinstance(backend, PostgresBackend):
                assert await backend._conn.fetchval("select 1") == 1
            elif isinstance(backend, RedisBackend):
                assert await backend._conn.ping()
            else:
                assert await backend._producer.ping()
                assert await backend._consumer.ping()


async def test_a_redis_backend_may_register_patterns_of_its_own(redis_broker: Broker) -> None:
    class Patterns(RedisBackend):
        async def subscribe(self, channel: str) -> None:
            await self._pubsub.psubscribe(channel)

        async def unsubscribe(self, channel: str) -> None:
            await self._pubsub.punsubscribe(channel)

    root = name()
    async with Broadcast(backend=Patterns(redis_broker.url)) as broadcast:
        async with broadcast.subscribe(f"{root}*") as subscriber:
            await broadcast.publish(f"{root}-a", "hello")
            with anyio.fail_after(SOON):
                assert await subscriber.get() == Event(f"{root}-a", "hello")
