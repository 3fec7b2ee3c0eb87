"""Connecting and disconnecting: by any task, again, on another loop, under a subscriber."""

import asyncio

import anyio
import pytest

from acked import ChannelClosed
from acked.compat.broadcaster import Broadcast
from acked.compat.broadcaster._base import Unsubscribed
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, Fragile, name, soon

pytestmark = pytest.mark.anyio


# Connecting


async def test_connecting_and_disconnecting_are_for_any_task_and_for_more_than_once() -> None:
    broadcast = Broadcast("memory://")
    for _ in range(2):
        await asyncio.create_task(broadcast.connect())
        await asyncio.create_task(broadcast.connect())
        async with broadcast.subscribe("room") as subscriber:
            await broadcast.publish("room", 1)
            assert await soon(subscriber) == 1
        await asyncio.create_task(broadcast.disconnect())
        await broadcast.disconnect()


def test_one_broadcast_serves_one_event_loop_after_another(redis_broker: Broker) -> None:
    broadcast = Broadcast(redis_broker.url)

    async def once() -> None:
        async with broadcast, broadcast.subscribe(channel := name()) as subscriber:
            await broadcast.publish(channel, "hello")
            assert await soon(subscriber) == "hello"

    asyncio.run(once())
    asyncio.run(once())


async def test_what_is_not_connected_says_so() -> None:
    broadcast = Broadcast("memory://")
    with pytest.raises(ChannelClosed):
        await broadcast.publish("room", "hello")
    with pytest.raises(ChannelClosed, match="connect"):
        async with broadcast.subscribe("room"):
            pass
    assert broadcast._subscribers == {}


@pytest.mark.parametrize("scheme", ["redis", "redis-stream"])
async def test_redis_publishes_without_being_connected(scheme: str, redis_broker: Broker) -> None:
    url = f"{scheme}://{redis_broker.url.partition('://')[2]}"
    publisher = Broadcast(url)
    async with Broadcast(url) as broadcast, broadcast.subscribe(channel := name()) as subscriber:
        async with anyio.create_task_group() as tasks:
            for n in range(3):
                tasks.start_soon(publisher.publish, channel, n)
        assert {await soon(subscriber) for _ in range(3)} == {"0", "1", "2"}


async def test_disconnecting_ends_the_loops_and_makes_get_raise_unsubscribed() -> None:
    broadcast = Broadcast("memory://")
    await broadcast.connect()
    raised: list[type[BaseException]] = []

    async def iterate() -> None:
        async with broadcast.subscribe("room") as subscriber:
            async for _ in subscriber:
                pass

    async def get() -> None:
        async with broadcast.subscribe("room") as subscriber:
            try:
                await subscriber.get()
            except Unsubscribed as error:
                raised.append(type(error))

    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(iterate)
            tasks.start_soon(get)
            while len(broadcast._subscribers.get("room", ())) < 2:
                await anyio.sleep(0)
            await broadcast.disconnect()
    assert raised == [Unsubscribed]


async def test_disconnecting_within_a_subscription_does_not_wait_for_itself() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        with anyio.fail_after(SOON):
            await broadcast.disconnect()
        with pytest.raises(Unsubscribed):
            await subscriber.get()


@pytest.mark.parametrize("scheme", ["memory", "redis", "redis-stream", "postgres", "own"])
async def test_a_subscriber_that_outstays_a_disconnection_is_in_nobodys_way(
    scheme: str, request: pytest.FixtureRequest
) -> None:
    if scheme == "own":
        broadcast = Broadcast(backend=Fragile())
    elif scheme == "memory":
        broadcast = Broadcast("memory://")
    else:
        broker: Broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
        broadcast = Broadcast(f"{scheme}://{broker.url.partition('://')[2]}")
    channel = name()
    await broadcast.connect()
    async with broadcast.subscribe(channel) as old:
        await broadcast.disconnect()
        await broadcast.connect()
        async with broadcast.subscribe(channel) as new:
            await broadcast.publish(channel, "hello")
            assert await soon(new) == "hello"
        with pytest.raises(Unsubscribed):
            await old.get()
    await broadcast.disconnect()
    assert broadcast._subscribers == {}


async def test_a_connect_that_is_cancelled_is_done_or_it_is_not() -> None:
    class Counted(Fragile):
        connected = 0

        async def connect(self) -> None:
            self.connected += 1
            cancelling.cancel()

        async def disconnect(self) -> None:
            self.connected -= 1

    backend = Counted()
    broadcast = Broadcast(backend=backend)
    with anyio.CancelScope() as cancelling:
        await broadcast.connect()
    assert ("not connected" in repr(broadcast)) is (backend.connected == 0)
    await broadcast.disconnect()
    assert backend.connected == 0
