"""Subscribing and leaving, whichever way, and the bounds of a subscriber that is slow."""

import asyncio
from collections.abc import AsyncGenerator

import anyio
import pytest

from acked.compat._events import offer_again
from acked.compat.broadcaster import Broadcast, Event
from acked.compat.broadcaster._base import Subscriber
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, name, soon

pytestmark = pytest.mark.anyio


# Subscribing


async def test_a_channel_is_forgotten_when_its_last_subscriber_has_left_whichever_way() -> None:
    async with Broadcast("memory://") as broadcast:
        async with broadcast.subscribe("room"):
            async with broadcast.subscribe(channel="room"):
                assert len(broadcast._subscribers["room"]) == 2
            assert len(broadcast._subscribers["room"]) == 1
        assert "room" not in broadcast._subscribers
        with pytest.raises(ZeroDivisionError):
            async with broadcast.subscribe("room"):
                raise ZeroDivisionError
        assert "room" not in broadcast._subscribers
        with anyio.move_on_after(0.01):
            async with broadcast.subscribe("room") as subscriber:
                await subscriber.get()
        assert "room" not in broadcast._subscribers


async def test_iterating_again_goes_on_where_it_stopped() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        for n in range(4):
            await broadcast.publish("room", n)
        seen = []
        for _ in range(2):
            async for event in subscriber:
                seen.append(event.message)
                if len(seen) % 2 == 0:
                    break
        assert seen == [0, 1, 2, 3]


async def test_another_task_may_read() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        reading = asyncio.create_task(subscriber.get())
        await broadcast.publish("room", "hello")
        with anyio.fail_after(SOON):
            assert await reading == Event("room", "hello")


async def test_an_abandoned_generator_may_be_closed_by_another_task() -> None:
    async with Broadcast("memory://") as broadcast:

        async def stream() -> AsyncGenerator[Event]:
            async with broadcast.subscribe("room") as subscriber:
                async for event in subscriber:
                    yield event

        events = stream()
        first = asyncio.create_task(anext(events))
        while not broadcast._subscribers:
            await anyio.sleep(0)
        await broadcast.publish("room", 1)
        assert (await first).message == 1
        await asyncio.create_task(events.aclose())
        assert broadcast._subscribers == {}


async def test_subscriptions_of_one_task_may_be_left_in_any_order(redis_broker: Broker) -> None:
    async with Broadcast(redis_broker.url) as broadcast:
        first, second = (broadcast.subscribe(name()) for _ in range(2))
        await first.__aenter__()
        subscriber = await second.__aenter__()
        await first.__aexit__(None, None, None)
        (channel,) = broadcast._subscribers
        await broadcast.publish(channel, "hello")
        assert await soon(subscriber) == "hello"
        await second.__aexit__(None, None, None)


# Bounds


async def test_a_slow_subscriber_drops_the_oldest_counts_them_and_logs_each_episode_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Broadcast("memory://", capacity=10) as broadcast:
        async with broadcast.subscribe("room") as slow, broadcast.subscribe("other") as other:
            for episode in (1, 2):
                for _ in range(2):  # behind, and further behind
                    for n in range(15):
                        await broadcast.publish("room", n)
                    event = await slow.get()
                    assert event.message == 5
                    assert event.gap is not None
                    assert event.gap.missed in {5, 14}
                assert [(await slow.get()).message for _ in range(9)] == list(range(6, 15))
                words = [record.getMessage() for record in caplog.records]
                assert words == episode * [
                    "a subscriber of 'room' is too slow: messages are dropped",
                    "a subscriber of 'room' has missed 19 message(s): it read too slowly",
                ]
            assert slow.statistics().missed == 38
            assert other.statistics().missed == 0


async def test_an_event_whose_room_another_took_meanwhile_is_not_lost_uncounted() -> None:
    first, read, late, other = (Event("room", one) for one in ("first", "read", "late", "other"))
    reader = Subscriber("room", 1)
    reader.offer(first)
    assert await reader.get() is first
    reader.offer(read)
    assert not reader.offer(late)
    again = asyncio.create_task(offer_again(late, [reader]))
    await asyncio.sleep(0)
    assert await reader.get() is read
    reader.offer(other)
    await again
    assert reader.statistics().missed == 1
    assert await reader.get() == late


async def test_drops_that_nobody_read_past_are_logged_on_leaving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Broadcast("memory://", capacity=1) as broadcast:
        async with broadcast.subscribe("room"):
            for n in range(3):
                await broadcast.publish("room", n)
    assert "a subscriber of 'room' has missed 2 message(s)" in caplog.text
