"""A reader that was given one turn hears; hundreds of rooms need few connections."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from acked.compat.broadcaster import Broadcast
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, Fragile, name, soon
from tests.fix_proxy import Proxies

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url", ["memory", "redis", "redis-stream", "postgres", "kafka"], indirect=True
)
async def test_a_reader_that_was_given_one_turn_hears_the_next_publish(url: str) -> None:
    async def read(channel: str) -> Any:
        async with broadcast.subscribe(channel) as subscriber:
            return await soon(subscriber)

    async with Broadcast(url) as broadcast:
        for channel in (name() for _ in range(2 if url.startswith("kafka") else 10)):
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(read(channel))
                await asyncio.sleep(0)
                await broadcast.publish(channel, "hello")
            assert reader.result() == "hello"


async def test_a_publish_waits_only_shortly_for_a_subscription_that_hangs() -> None:
    class Hangs(Fragile):
        async def subscribe(self, channel: str) -> None:
            await anyio.sleep_forever()

    async with Broadcast(backend=Hangs()) as broadcast, anyio.create_task_group() as tasks:
        tasks.start_soon(broadcast.subscribe("loft").__aenter__)
        await asyncio.sleep(0)
        with anyio.fail_after(SOON):
            await broadcast.publish("loft", "nobody hears this")
        tasks.cancel_scope.cancel()


async def test_a_backend_may_publish_while_it_subscribes() -> None:
    class Greets(Fragile):
        async def subscribe(self, channel: str) -> None:
            await super().subscribe(channel)
            before = anyio.current_time()
            await broadcast.publish(channel, "somebody comes")
            self.took = anyio.current_time() - before

    backend = Greets()
    async with Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe("loft") as subscriber:
            assert await soon(subscriber) == "somebody comes"
    assert backend.took < 0.5


@pytest.mark.parametrize("url", ["redis-stream"], indirect=True)
async def test_two_hundred_rooms_need_few_connections(url: str, redis_broker: Broker) -> None:
    async with Redis.from_url(redis_broker.url) as client, AsyncExitStack() as rooms:
        before = len(await client.client_list())
        broadcast = await rooms.enter_async_context(Broadcast(url))
        channels = [name() for _ in range(200)]
        subscribers = [await rooms.enter_async_context(broadcast.subscribe(c)) for c in channels]
        for channel in channels:
            await broadcast.publish(channel, channel)
        assert [await soon(one) for one in subscribers] == channels
        assert len(await client.client_list()) - before <= 6
        assert await client.exists(channels[0])
        assert await client.xinfo_groups(channels[0]) == []


async def test_many_rooms_on_kafka_need_few_connections(
    kafka_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(kafka_broker)
    async with Broadcast(way.url) as broadcast, AsyncExitStack() as rooms:
        channels = [name() for _ in range(40)]
        subscribers = [await rooms.enter_async_context(broadcast.subscribe(c)) for c in channels]
        for channel in channels:
            await broadcast.publish(channel, channel)
        assert [await soon(one) for one in subscribers] == channels
        assert way.statistics().open_connections <= 6
