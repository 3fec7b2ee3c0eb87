"""Several groups and patterns in one subscription, and one connection for all of them."""

from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from acked.compat.starlette_web.common.channels.base import Channel, Event
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from compose.lifecycle import Broker
from tests.compat.scenarios import _layers
from tests.compat.starlette_web_kit import SOON, name, read, redis_layer, until

pytestmark = pytest.mark.anyio


# 6: several groups, patterns


class SeveralGroups(RedisPubSubChannelLayer):
    """As the original's documentation has it."""

    async def subscribe(self, groups: str) -> None:  # type: ignore[override]
        await self._pubsub.subscribe(*groups.split(";"))

    async def unsubscribe(self, groups: str) -> None:  # type: ignore[override]
        await self._pubsub.unsubscribe(*groups.split(";"))


class Patterns(RedisPubSubChannelLayer):
    """As the original's documentation has it."""

    async def subscribe(self, patterns: str) -> None:  # type: ignore[override]
        await self._pubsub.psubscribe(*patterns.split(";"))

    async def unsubscribe(self, patterns: str) -> None:  # type: ignore[override]
        await self._pubsub.punsubscribe(*patterns.split(";"))


async def test_an_event_belongs_to_the_subscription_that_registered_its_name(
    redis_broker: Broker,
) -> None:
    a, b, c = (f"{one}{name()}" for one in "abc")
    layer = SeveralGroups(**_layers.options(redis_broker.url))
    async with Channel(layer) as channel:
        async with channel.subscribe(f"{a};{b}") as ab, channel.subscribe(f"{b};{c}") as bc:
            for group in (a, b, c):
                await channel.publish(group, f"to {group[0]}")
            with anyio.fail_after(SOON):
                assert [await anext(ab), await anext(ab)] == [Event(a, "to a"), Event(b, "to b")]
                assert [await anext(bc), await anext(bc)] == [Event(b, "to b"), Event(c, "to c")]
        assert await _listened_to(redis_broker, a, b, c) == 0
        assert channel._subscribers == {}


async def test_a_message_that_matches_two_patterns_of_a_subscription_arrives_once(
    redis_broker: Broker,
) -> None:
    root = name()
    layer = Patterns(**_layers.options(redis_broker.url))
    async with Channel(layer) as channel:
        async with channel.subscribe(f"{root}.*;*{root}*") as one, channel.subscribe("*") as every:
            await channel.publish(f"{root}.x", 1)
            await channel.publish(f"{root}.y", 2)
            with anyio.fail_after(SOON):
                assert [await anext(one), await anext(one)] == [
                    Event(f"{root}.x", 1),
                    Event(f"{root}.y", 2),
                ]
                while (await anext(every)).group != f"{root}.y":
                    pass


@pytest.mark.parametrize("kind", ["memory", "redis", "postgres", "mqtt"])
async def test_a_layer_may_subscribe_to_several_groups_one_by_one(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = "memory:" if kind == "memory" else request.getfixturevalue(f"{kind}_broker").url

    class OneByOne(_layers.layer_class(url, "acked.compat.starlette_web")):  # type: ignore[misc]
        async def subscribe(self, groups: str) -> None:
            for group in groups.split(";"):
                await super().subscribe(group)

        async def unsubscribe(self, groups: str) -> None:
            for group in groups.split(";"):
                await super().unsubscribe(group)

    a, b = (f"{one}{name()}" for one in "ab")
    async with Channel(OneByOne(**_layers.options(url))) as channel:
        async with channel.subscribe(f"{a};{b}") as both, channel.subscribe(b) as alone:
            await channel.publish(a, "1")
            await channel.publish(b, "2")
            assert sorted(map(str, await read(both, 2))) == ["1", "2"]
            assert [str(one) for one in await read(alone, 1)] == ["2"]


async def _listened_to(broker: Broker, *names: str) -> int:
    async with Redis.from_url(broker.url) as client:
        return sum(count for _, count in await client.pubsub_numsub(*names))


async def test_a_layer_can_be_used_without_a_channel(redis_broker: Broker) -> None:
    a, b = name(), name()
    layer = redis_layer(redis_broker)
    await layer.connect()
    await layer._pubsub.subscribe(a, b)
    await layer._pubsub.subscribe(a)
    assert await _listened_to(redis_broker, a, b) == 2
    await layer._pubsub.unsubscribe(b)
    await layer.publish(b, "left")
    await layer.publish(a, "hello")
    with anyio.fail_after(SOON):
        assert await layer.next_published() == Event(a, "hello")
    await layer._pubsub.unsubscribe()
    assert await _listened_to(redis_broker, a, b) == 0
    assert await layer.redis.ping()
    await layer.disconnect()


# 7: one connection


async def test_many_coroutines_listen_on_one_connection(redis_broker: Broker) -> None:
    root = name()
    layer = redis_layer(redis_broker)
    heard: list[Any] = []
    async with Channel(layer) as channel:

        async def listen(group: str) -> None:
            async with channel.subscribe(group) as subscriber:
                heard.append((group, *await read(subscriber, 1)))

        async with anyio.create_task_group() as tasks:
            for number in [*range(20), 0, 0]:
                tasks.start_soon(listen, f"{root}{number}")
            await until(lambda: sum(map(len, channel._subscribers.values())) == 22)
            async with Redis.from_url(redis_broker.url) as client:
                found = await client.client_list(_type="pubsub")
                listening = [one for one in found if int(one["sub"]) == 20]
            for number in range(20):
                await channel.publish(f"{root}{number}", number)
    assert len(listening) == 1
    assert sorted(heard) == sorted((f"{root}{n}", n) for n in [*range(20), 0, 0])
