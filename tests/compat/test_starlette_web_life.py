"""The life of a channel: entered, entered again, and left, whatever leaves it."""

import math
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from acked import ChannelClosed, ConfigurationError
from acked.compat.starlette_web.common.channels.base import Channel, Event
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from tests.compat.starlette_web_kit import ON_BOTH, SOON, is_quiet, read, until

pytestmark = pytest.mark.anyio


# 1: the life of a channel


@ON_BOTH
async def test_a_channel_can_be_entered_several_times_one_after_another() -> None:
    channel = Channel(InMemoryChannelLayer())
    for turn in range(3):
        async with channel, channel.subscribe("room") as subscriber:
            await channel.publish("room", turn)
            assert await read(subscriber, 1) == [turn]


def test_a_channel_can_be_entered_on_one_event_loop_after_another() -> None:
    channel = Channel(InMemoryChannelLayer())

    async def use() -> None:
        async with channel, channel.subscribe("room") as subscriber:
            await channel.publish("room", "hello")
            assert await read(subscriber, 1) == ["hello"]

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(use, backend=backend)


@ON_BOTH
async def test_one_task_keeps_the_channel_until_an_event_and_the_others_end_with_it() -> None:
    channel, closing, opened = Channel(InMemoryChannelLayer()), anyio.Event(), anyio.Event()
    heard: list[Any] = []

    async def keep() -> None:
        async with channel:
            opened.set()
            await closing.wait()

    async def listen() -> None:
        async with channel.subscribe("room") as subscriber:
            async for event in subscriber:
                heard.append(event.message)

    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            await opened.wait()
            tasks.start_soon(listen)
            tasks.start_soon(listen)
            await until(lambda: len(channel._subscribers.get("room", ())) == 2)
            await channel.publish("room", "hello")
            await until(lambda: len(heard) == 2)
            closing.set()
    assert channel._subscribers == {}


async def test_a_channel_is_entered_once_at_a_time_and_not_used_outside() -> None:
    channel = Channel(InMemoryChannelLayer())
    with pytest.raises(RuntimeError, match="enter its Channel"):
        await channel.publish("room", 1)
    with pytest.raises(ChannelClosed, match="enter it first"):
        async with channel.subscribe("room"):
            pass
    async with channel:
        with pytest.raises(ConfigurationError, match="is open"):
            await channel.__aenter__()
        assert repr(channel) == "<Channel over InMemoryChannelLayer, connected>"
    assert repr(channel) == "<Channel over InMemoryChannelLayer, not connected>"


async def test_a_layer_that_cannot_connect_is_raised_as_it_is_and_can_be_tried_again() -> None:
    class Flaky(InMemoryChannelLayer):
        tries = 0

        async def connect(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise PermissionError
            await super().connect()

    channel = Channel(Flaky())
    with pytest.raises(PermissionError):
        await channel.__aenter__()
    async with channel:
        await channel.publish("room", 1)


# 3: leaving


@ON_BOTH
async def test_break_releases_at_once() -> None:
    layer = InMemoryChannelLayer()
    async with Channel(layer) as channel:
        async with channel.subscribe("room") as subscriber:
            await channel.publish("room", 1)
            assert layer._subscribed == {"room": 1}
            async for _ in subscriber:
                break
        assert is_quiet(channel, layer)


@ON_BOTH
async def test_one_of_two_leaves_the_other_alone() -> None:
    layer = InMemoryChannelLayer()
    async with Channel(layer) as channel, channel.subscribe("room") as stays:
        async with channel.subscribe("room"):
            pass
        assert layer._subscribed == {"room": 1}
        await channel.publish("room", "hello")
        assert await read(stays, 1) == ["hello"]


@ON_BOTH
async def test_cancellation_unsubscribes() -> None:
    layer = InMemoryChannelLayer()
    async with Channel(layer) as channel:
        with anyio.move_on_after(0.05):
            async with channel.subscribe("room") as subscriber:
                async for _ in subscriber:
                    pass
        assert is_quiet(channel, layer)

        async def listen() -> None:
            async with channel.subscribe("room") as subscriber:
                async for _ in subscriber:
                    pass

        with pytest.raises(BaseExceptionGroup):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                await until(lambda: "room" in channel._subscribers)
                raise LookupError
        assert is_quiet(channel, layer)


@ON_BOTH
async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Channel(InMemoryChannelLayer()) as channel, channel.subscribe("room"):
            raise LookupError("mine")


async def test_a_channel_within_a_scope_that_ends_is_left_and_disconnected() -> None:
    layer = InMemoryChannelLayer()
    with anyio.move_on_after(0.05) as scope:
        async with Channel(layer) as channel, channel.subscribe("room") as subscriber:
            await anext(subscriber)
    assert scope.cancelled_caught
    assert is_quiet(channel, layer)
    assert layer._inbox is None


async def test_a_layer_that_does_not_let_go_is_given_up_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(InMemoryChannelLayer):
        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            await anyio.sleep_forever()

    class Impatient(Channel):
        EXIT_MAX_DELAY = 0.05

    with anyio.fail_after(SOON):
        async with Impatient(Stuck()) as channel, channel.subscribe("room"):
            pass
    assert "leaving 'room' took more than 0.05 s" in caplog.text


async def test_what_unsubscribing_raises_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(InMemoryChannelLayer):
        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            raise PermissionError

    async with Channel(Failing()) as channel:
        with pytest.raises(LookupError):
            async with channel.subscribe("room"):
                raise LookupError
    assert "leaving 'room': PermissionError" in caplog.text


async def test_a_subscription_in_a_generator_may_be_left_by_another_task() -> None:
    layer = InMemoryChannelLayer()

    async def events(channel: Channel) -> AsyncGenerator[Event]:
        async with channel.subscribe("room") as subscriber:
            async for event in subscriber:
                yield event

    async with Channel(layer) as channel:
        stream = events(channel)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, stream)  # pyright: ignore[reportArgumentType]
            await until(lambda: "room" in channel._subscribers)
            await channel.publish("room", 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.aclose)
        assert is_quiet(channel, layer)


@ON_BOTH
async def test_subscribers_that_come_and_go_at_once_are_never_deaf() -> None:
    class Slow(InMemoryChannelLayer):
        async def subscribe(self, group: str, **kwargs: Any) -> None:
            await anyio.sleep(0.001)
            await super().subscribe(group)

        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            await anyio.sleep(0.001)
            await super().unsubscribe(group)

    layer = Slow()
    async with Channel(layer) as channel:

        async def come_and_go(number: int) -> None:
            for turn in range(10):
                async with channel.subscribe("room", math.inf) as subscriber:
                    await channel.publish("room", (number, turn))
                    while (await read(subscriber, 1))[0] != (number, turn):
                        pass

        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(come_and_go, number)
        assert is_quiet(channel, layer)
