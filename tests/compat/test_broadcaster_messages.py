"""Events and messages: what a subscriber gets, and what stands on each broker's wire."""

import asyncio

import anyio
import asyncpg
import pytest
from redis.asyncio import Redis

from acked import EncodeError, MessageTooLarge
from acked.compat.broadcaster import Broadcast, Event
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, name, soon

pytestmark = pytest.mark.anyio


# Events


def test_events_are_equal_by_channel_and_message_and_show_both() -> None:
    event = Event("room", "hello")
    assert event == Event(channel="room", message="hello")
    assert event != Event("room", "other")
    assert event != Event("other", "hello")
    assert event != ("room", "hello")
    assert repr(event) == "Event(channel='room', message='hello')"
    assert event.gap is None
    with pytest.raises(TypeError):
        hash(event)


async def test_what_a_subscriber_gets_is_an_event_and_nothing_more_special() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        await broadcast.publish("room", "hello")
        event = await subscriber.get()
        assert type(event) is Event
        assert event == Event("room", "hello")


# Messages


async def test_memory_hands_over_the_very_object() -> None:
    thing = object()
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        assert await broadcast.publish(channel="room", message=thing) is None
        assert await soon(subscriber) is thing


@pytest.mark.parametrize("scheme", ["redis", "redis-stream", "postgres", "kafka"])
async def test_brokers_hand_over_text_whatever_was_published(
    scheme: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
    url = f"{scheme}://{broker.url.partition('://')[2]}"
    async with Broadcast(url) as broadcast, broadcast.subscribe(channel := name()) as subscriber:
        for message in (5, 2.5, b"bytes", "text\n\u20ac", b"\xff", "", "acked:t[]\n", "end"):
            await broadcast.publish(channel, message)
        with pytest.raises(EncodeError):
            await broadcast.publish(channel, {"no": "text"})
        heard = [await soon(subscriber) for _ in range(8)]
    assert heard == ["5", "2.5", "bytes", "text\n\u20ac", "\ufffd", "", "acked:t[]\n", "end"]


async def test_a_stream_has_the_originals_entries_and_is_read_without_a_group(
    redis_broker: Broker,
) -> None:
    url = redis_broker.url.replace("redis", "redis-stream", 1)
    channel = name()
    async with Redis.from_url(redis_broker.url) as client, Broadcast(url) as broadcast:
        async with broadcast.subscribe(channel) as one, broadcast.subscribe(channel) as other:
            await client.xadd(channel, {"message": "from the original"})
            await broadcast.publish(channel, "from us")
            for subscriber in (one, other):
                assert await soon(subscriber) == "from the original"
                assert await soon(subscriber) == "from us"
            assert (await client.xinfo_stream(channel))["groups"] == 0
        assert (await client.xinfo_stream(channel))["groups"] == 0  # nobody listens: none is kept
        entries = await client.xrange(channel)
    assert [fields for _, fields in entries] == [
        {b"message": b"from the original"},
        {b"message": b"from us"},
    ]


async def test_a_notification_is_the_bare_text_of_up_to_7999_bytes(
    postgres_broker: Broker,
) -> None:
    channel = name()
    heard: asyncio.Queue[object] = asyncio.Queue()
    other = await asyncpg.connect(postgres_broker.url)
    async with Broadcast(postgres_broker.url) as broadcast:
        await other.add_listener(channel, lambda *found: heard.put_nowait(found[-1]))
        async with broadcast.subscribe(channel) as subscriber:
            largest = "x" * 7999
            await broadcast.publish(channel, largest)
            assert await soon(subscriber) == largest
            with anyio.fail_after(SOON):
                assert await heard.get() == largest
            with pytest.raises(MessageTooLarge):
                await broadcast.publish(channel, largest + "x")
    await other.close()
