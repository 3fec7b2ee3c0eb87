"""Publishing and subscribing: who gets what, in which order, and what a slow reader misses."""

import math
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from acked import GapCause
from acked.compat.starlette_web.common.channels.base import Channel, Event, Subscriber
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from compose.lifecycle import Broker
from tests.compat.starlette_web_kit import ON_BOTH, SOON, name, read, redis_layer, until

pytestmark = pytest.mark.anyio


# 2: publishing and subscribing


@ON_BOTH
async def test_publishing_to_nobody_never_blocks() -> None:
    async with Channel(InMemoryChannelLayer()) as channel:
        with anyio.fail_after(SOON):
            for n in range(2000):
                await channel.publish("room", n)


@ON_BOTH
async def test_who_publishes_in_a_loop_lets_the_others_run() -> None:
    async with Channel(InMemoryChannelLayer()) as channel, anyio.create_task_group() as tasks:
        others = anyio.Event()

        async def run() -> None:
            others.set()

        tasks.start_soon(run)
        for n in range(10):
            await channel.publish("room", n)
        assert others.is_set()


@ON_BOTH
@pytest.mark.parametrize("size", [0, 5, 7.0, math.inf])
async def test_a_reader_that_keeps_up_gets_everything_in_order_whatever_its_buffer(
    size: float,
) -> None:
    async with Channel(InMemoryChannelLayer()) as channel:

        async def publish() -> None:
            for n in range(1000):
                await channel.publish("room", n)

        async with (
            channel.subscribe("room", size) as one,
            channel.subscribe("room", max_buffer_size=size) as other,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(publish)
            both: list[list[Any]] = []

            async def collect(subscriber: Subscriber) -> None:
                both.append(await read(subscriber, 1000))

            tasks.start_soon(collect, one)
            tasks.start_soon(collect, other)
            await until(lambda: len(both) == 2)
    assert both == [list(range(1000))] * 2


async def test_a_burst_from_a_broker_needs_no_large_buffer(redis_broker: Broker) -> None:
    group = name()
    async with Channel(redis_layer(redis_broker)) as channel:
        async with (
            channel.subscribe(group, 5) as subscriber,
            Redis.from_url(redis_broker.url) as client,
        ):
            pipe = client.pipeline(transaction=False)
            for n in range(1000):
                pipe.publish(group, f"{n}")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pipe.execute)
                assert await read(subscriber, 1000) == list(range(1000))


async def test_a_reader_that_does_not_keep_up_is_told_what_it_missed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Channel(InMemoryChannelLayer()) as channel:
        async with channel.subscribe("room", 5) as slow, channel.subscribe("room") as fast:
            for n in range(20):
                await channel.publish("room", n)
            assert await read(fast, 20) == list(range(20))
            event = await anext(slow)
            assert event == Event("room", 15)
            assert event.gap is not None
            assert event.gap.missed == 15
            assert event.gap.causes == {GapCause.OVERFLOW}
            assert await read(slow, 4) == [16, 17, 18, 19]
            assert slow.statistics().missed == 15
            assert fast.statistics().missed == 0
    assert [record.getMessage() for record in caplog.records] == [
        "a subscriber of 'room' is too slow: messages are dropped",
        "a subscriber of 'room' has missed 15 message(s): it read too slowly",
    ]


async def test_options_of_publish_and_subscribe_reach_the_layer() -> None:
    calls: list[Any] = []

    class Noting(InMemoryChannelLayer):
        async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
            calls.append(("publish", kwargs))
            await super().publish(group, message)

        async def subscribe(self, group: str, **kwargs: Any) -> None:
            calls.append(("subscribe", kwargs))
            await super().subscribe(group)

        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            calls.append(("unsubscribe", kwargs))
            await super().unsubscribe(group)

    async with Channel(Noting()) as channel, channel.subscribe("room", 1, mode=1):
        await channel.publish("room", "hello", retain=True)
    assert calls == [
        ("subscribe", {"mode": 1}),
        ("publish", {"retain": True}),
        ("unsubscribe", {"mode": 1}),
    ]
