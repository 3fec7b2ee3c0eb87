"""Events and bytes: what arrives, what a serializer makes of it, what cannot be read."""

import anyio
import pytest
from redis.asyncio import Redis

from acked.compat.starlette_web.common.channels.base import Channel, Event
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from acked.compat.starlette_web.common.utils.serializers import (
    DeserializeError,
    JSONSerializer,
    PickleSerializer,
    SerializeError,
)
from acked.compat.starlette_web.contrib.mqtt.serializers import MQTTSerializer
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from compose.lifecycle import Broker
from tests.compat.scenarios import _layers
from tests.compat.starlette_web_kit import ON_BOTH, SOON, name, read, redis_layer

pytestmark = pytest.mark.anyio


# 4: events and bytes


@ON_BOTH
async def test_memory_hands_over_the_very_object() -> None:
    thing = object()
    async with Channel(InMemoryChannelLayer()) as channel, channel.subscribe("room") as subscriber:
        await channel.publish("room", thing)
        event = await anext(subscriber)
    assert type(event) is Event
    assert event.group == "room"
    assert event.message is thing


def test_events_are_equal_by_group_and_message() -> None:
    assert Event("room", 1) == Event(group="room", message=1)
    assert Event("room", 1) != Event("room", 2)
    assert Event("room", 1) != ("room", 1)
    assert repr(Event("room", "hi")) == "Event(group='room', message='hi')"


async def test_a_group_may_be_called_anything() -> None:
    strange = "\n" + "x" * 1000
    async with Channel(InMemoryChannelLayer()) as channel, channel.subscribe(strange) as subscriber:
        await channel.publish(strange, 1)
        assert await read(subscriber, 1) == [1]


async def test_redis_carries_json_unless_told_otherwise(redis_broker: Broker) -> None:
    class Pickling(RedisPubSubChannelLayer):
        serializer_class = PickleSerializer

    group, body = name(), {"text": "ü", "numbers": [1, 2.5, None]}
    async with Channel(redis_layer(redis_broker)) as channel, channel.subscribe(group) as json:
        await channel.publish(group, body)
        assert await read(json, 1) == [body]
        with pytest.raises(SerializeError):
            await channel.publish(group, {1, 2})
    layer = Pickling(**_layers.options(redis_broker.url))
    async with Channel(layer) as channel, channel.subscribe(group) as pickled:
        await channel.publish(group, {1, 2})
        assert await read(pickled, 1) == [{1, 2}]


async def test_bytes_that_cannot_be_read_are_skipped_and_told(
    redis_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    group = name()
    async with Channel(redis_layer(redis_broker)) as channel, channel.subscribe(group) as one:
        async with Redis.from_url(redis_broker.url) as client:
            await client.publish(group, b"secret\xff")
        await channel.publish(group, "after")
        with anyio.fail_after(SOON):
            event = await anext(one)
    assert event.message == "after"
    assert event.gap is not None
    assert event.gap.missed == 1
    assert "cannot be read and is skipped: DeserializeError" in caplog.text
    assert "secret" not in caplog.text


def test_serializers() -> None:
    assert JSONSerializer().deserialize(b"") is None
    with pytest.raises(DeserializeError):
        JSONSerializer().deserialize(b"\xff")
    with pytest.raises(DeserializeError):
        PickleSerializer().deserialize(b"no pickle")
    with pytest.raises(SerializeError):
        PickleSerializer().serialize(lambda: None)
    mqtt = MQTTSerializer()
    for message in ("text", {"a": 1}, [1], 2.5, None):
        assert mqtt.deserialize(mqtt.serialize(message)) == message
    for body in (b"\xff", bytearray(b"\xff"), memoryview(b"\xff")):
        assert mqtt.deserialize(mqtt.serialize(body)) == b"\xff"
    with pytest.raises(SerializeError):
        mqtt.serialize(object())
