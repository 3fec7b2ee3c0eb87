"""What an application of the original's channels may rely on, point by point."""

import math
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import aiomqtt
import anyio
import asyncpg
import pytest
import redis
from redis.asyncio import Redis

from acked import (
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    GapCause,
    LayerError,
    PublishFailed,
)
from acked.compat.starlette_web.common.channels.base import Channel, Event, Subscriber
from acked.compat.starlette_web.common.channels.exceptions import ChannelsError, ListenerClosed
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from acked.compat.starlette_web.common.http.exceptions import (
    ImproperlyConfigured,
    NotSupportedError,
)
from acked.compat.starlette_web.common.utils.serializers import (
    DeserializeError,
    JSONSerializer,
    PickleSerializer,
    SerializeError,
)
from acked.compat.starlette_web.contrib.mqtt import MQTTChannelLayer
from acked.compat.starlette_web.contrib.mqtt.serializers import MQTTSerializer
from acked.compat.starlette_web.contrib.postgres.channel_layers import PostgreSQLChannelLayer
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from compose.lifecycle import Broker
from tests.compat.scenarios import _layers
from tests.fix_proxy import Proxies, Proxy

pytestmark = pytest.mark.anyio

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
                heard.append(event.message)  # noqa: PERF401 - while others look at it

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
        assert repr(channel) == "<Channel over InMemoryChannelLayer, open>"
    assert repr(channel) == "<Channel over InMemoryChannelLayer, closed>"


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
    assert not layer._inbox.is_open


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


# 5: options of the layers


def test_options_that_cannot_be_are_said_at_once() -> None:
    with pytest.raises(ImproperlyConfigured):
        RedisPubSubChannelLayer(hots="localhost")
    with pytest.raises(ImproperlyConfigured, match="on_loss"):
        RedisPubSubChannelLayer(on_loss="pray")  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured, match="sslmode"):
        PostgreSQLChannelLayer(host="localhost", ssl=object())
    with pytest.raises(ImproperlyConfigured):
        MQTTChannelLayer(keepalive=-1)
    with pytest.raises(NotSupportedError, match="MQTT 5"):
        MQTTChannelLayer(version=4)


@pytest.mark.parametrize("by", ["dsn", "options"])
async def test_postgres_takes_what_asyncpg_takes(postgres_broker: Broker, by: str) -> None:
    given = (
        {"dsn": postgres_broker.url} if by == "dsn" else _layers.options(postgres_broker.url)
    ) | {"server_settings": {"application_name": "by name"}, "command_timeout": 5}
    group = name()
    async with Channel(PostgreSQLChannelLayer(**given)) as channel:
        async with channel.subscribe(group) as subscriber:
            await channel.publish(group, "x" * 7999)
            assert await read(subscriber, 1) == ["x" * 7999]
            with pytest.raises(NotSupportedError, match="8000"):
                await channel.publish(group, "ü" * 4000)
            with pytest.raises(NotSupportedError, match="not dict"):
                await channel.publish(group, {})
            connection = await asyncpg.connect(postgres_broker.url)
            found = await connection.fetchval(
                "select count(*) from pg_stat_activity where application_name = 'by name'"
            )
            await connection.execute("select pg_notify($1, 'from psql')", group)
            assert await read(subscriber, 1) == ["from psql"]
            await connection.close()
    assert found >= 2


def test_an_address_is_named_without_the_password() -> None:
    options = {"host": "db.example", "port": 5433, "user": "ann", "password": "s3cr/t"}
    layers = (
        PostgreSQLChannelLayer(**options, database="shop", passfile="/none", ssl=False),
        PostgreSQLChannelLayer(dsn="postgresql://ann:s3cr%2Ft@db.example:5433/shop", ssl="require"),
        MQTTChannelLayer(host="db.example", port=5433, username="ann", password="s3cr/t", ssl=True),
    )
    for layer in layers:
        words = repr(layer._channel)
        assert "db.example" in words
        assert "5433" in words
        assert "s3cr" not in words


def test_several_hosts_and_sockets_have_a_place_in_the_address() -> None:
    several = PostgreSQLChannelLayer(host=["a", "::1"], port=[1, 2], database="shop")
    assert "a:1" in repr(several._channel)
    socket = PostgreSQLChannelLayer(host="/run/postgres", database="shop")
    assert "run" in repr(socket._channel)


async def test_mqtt_honours_qos_retain_and_filters(mqtt_broker: Broker) -> None:
    root = name()
    options = _layers.options(mqtt_broker.url)
    layer = MQTTChannelLayer(**options, client_id="mine", clean_session=True, keepalive=30)
    async with Channel(layer) as channel:
        async with channel.subscribe(f"{root}/+", 100) as plus, channel.subscribe(f"{root}/#"):
            seen = await _seen_by_another(mqtt_broker, f"{root}/#", channel, root)
            assert await read(plus, 3) == [{"qos": 0}, {"qos": 1}, {"qos": 2}]
            await channel.publish(f"{root}/a/b", "deeper")
            await channel.publish(f"{root}/last", b"\xff")
            with anyio.fail_after(SOON):
                assert await anext(plus) == Event(f"{root}/last", b"\xff")
    assert seen == [0, 1, 2]


async def _seen_by_another(
    broker: Broker, topic_filter: str, channel: Channel, root: str
) -> list[int]:
    """Publish with each QoS; return those with which another client received."""
    parts = _layers.options(broker.url)
    async with aiomqtt.Client(parts["host"], parts["port"]) as client:
        await client.subscribe(topic_filter, qos=2)
        for qos in (0, 1, 2):
            await channel.publish(f"{root}/{qos}", {"qos": qos}, qos=qos)
        seen: list[int] = []
        with anyio.fail_after(SOON):
            async for message in client.messages:
                seen.append(message.qos)
                if len(seen) == 3:
                    break
    return seen


async def test_what_is_retained_stays_for_other_clients(mqtt_broker: Broker) -> None:
    topic, parts = name(), _layers.options(mqtt_broker.url)
    async with Channel(MQTTChannelLayer(**parts)) as channel:
        await channel.publish(topic, "kept", qos=1, retain=True)
    async with aiomqtt.Client(parts["host"], parts["port"]) as client:
        await client.subscribe(topic)
        with anyio.fail_after(SOON):
            message = await anext(aiter(client.messages))
        assert message.payload == b"kept"
        assert message.retain
        await client.publish(topic, None, retain=True)


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


# 8: the end


@ON_BOTH
async def test_a_layer_that_raises_listener_closed_ends_its_subscribers() -> None:
    class Ending(InMemoryChannelLayer):
        async def next_published(self) -> Event:
            event = await super().next_published()
            if event.message == "the end":
                raise ListenerClosed(details="it said so")
            return event

    async with Channel(Ending()) as channel:
        async with channel.subscribe("room") as subscriber:
            await channel.publish("room", "hello")
            await channel.publish("room", "the end")
            with anyio.fail_after(SOON):
                assert [event.message async for event in subscriber] == ["hello"]
        async with channel.subscribe("room") as subscriber:
            with anyio.fail_after(SOON):
                assert [event async for event in subscriber] == []


async def test_what_else_a_layer_raises_is_raised_in_every_subscriber() -> None:
    class Broken(InMemoryChannelLayer):
        async def next_published(self) -> Event:
            await super().next_published()
            raise PermissionError

    async with Channel(Broken()) as channel:
        async with channel.subscribe("room") as one, channel.subscribe("other") as other:
            await channel.publish("room", "hello")
            for subscriber in (one, other):
                with anyio.fail_after(SOON), pytest.raises(PermissionError):
                    await anext(subscriber)


async def test_a_layer_of_the_applications_own_is_asked_for_its_methods_only() -> None:
    class Own(BaseChannelLayer):
        def __init__(self) -> None:
            super().__init__(anything=1)
            self.send, self.receive = anyio.create_memory_object_stream[Event](10)

        async def connect(self) -> None:
            pass

        async def disconnect(self) -> None:
            self.send.close()
            self.receive.close()

        async def subscribe(self, group: str, **kwargs: Any) -> None:
            pass

        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            pass

        async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
            await self.send.send(Event(group, message))

        async def next_published(self) -> Event:
            return await self.receive.receive()

    async with Channel(Own()) as channel, channel.subscribe("room") as subscriber:
        await channel.publish("elsewhere", 1)
        await channel.publish("room", 2)
        assert await read(subscriber, 1) == [2]


async def test_the_base_layer_can_do_nothing_and_says_so() -> None:
    layer = BaseChannelLayer()
    for call in (
        layer.connect(),
        layer.disconnect(),
        layer.subscribe("room"),
        layer.unsubscribe("room"),
        layer.publish("room", 1),
        layer.next_published(),
    ):
        with pytest.raises(NotSupportedError, match="not supported"):
            await call
    error = ChannelsError(details="why", message="what", status_code=503)
    assert (str(error), error.status_code) == ("what\nwhy", 503)


# Lost connections


class Line:
    """A way to a real broker that can be cut, and a layer that takes it."""

    def __init__(self, kind: str, proxy: Proxy) -> None:
        self.kind, self.proxy = kind, proxy
        self.driver = {
            "redis": redis.ConnectionError,
            "postgres": asyncpg.PostgresConnectionError,
            "mqtt": ConnectionLost,
        }[kind]

    def layer(self, on_loss: str) -> BaseChannelLayer:
        url = self.proxy.url
        kind: Any = _layers.layer_class(url, "acked.compat.starlette_web")
        layer: BaseChannelLayer = kind(on_loss=on_loss, **_layers.options(url))
        return layer


@pytest.fixture
def line(request: pytest.FixtureRequest, proxy: Proxies) -> Line:
    """A way to the shared broker that the test's parameter names."""
    return Line(request.param, proxy(request.getfixturevalue(f"{request.param}_broker")))


EVERY_LINE = pytest.mark.parametrize("line", ["redis", "postgres", "mqtt"], indirect=True)


@EVERY_LINE
async def test_a_lost_connection_is_made_again_and_told(line: Line) -> None:
    group = name()
    async with Channel(line.layer("reconnect")) as channel:
        async with channel.subscribe(group) as subscriber:
            line.proxy.cut()

            async def publish() -> None:
                while True:
                    with suppress(LayerError):  # on a connection that was cut as well
                        await channel.publish(group, "after")
                    await anyio.sleep(0.05)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                with anyio.fail_after(2 * SOON):
                    event = await anext(subscriber)
                tasks.cancel_scope.cancel()
            assert event.message == "after"
            if line.kind != "mqtt":  # whose session the broker keeps: nothing can be missing
                assert event.gap is not None
                assert event.gap.causes == {GapCause.RECONNECT}


@EVERY_LINE
async def test_a_lost_connection_can_be_raised_as_the_drivers_own_error(line: Line) -> None:
    async with Channel(line.layer("raise")) as channel:
        async with channel.subscribe(name()) as subscriber:
            line.proxy.refuse()
            line.proxy.cut()
            with anyio.fail_after(2 * SOON), pytest.raises(ConnectionLost) as caught:
                await anext(subscriber)
    assert isinstance(caught.value, line.driver)


@EVERY_LINE
async def test_a_lost_connection_can_be_the_end_as_in_the_original(line: Line) -> None:
    async with Channel(line.layer("end")) as channel:
        async with channel.subscribe(name()) as subscriber:
            line.proxy.refuse()
            line.proxy.cut()
            with anyio.fail_after(2 * SOON):
                assert [event async for event in subscriber] == []


@EVERY_LINE
async def test_a_broker_that_is_not_there_is_said_on_entering_and_on_publishing(
    line: Line,
) -> None:
    channel = Channel(line.layer("reconnect"))
    async with channel:
        line.proxy.refuse()
        line.proxy.cut()
        with anyio.fail_after(2 * SOON), pytest.raises(PublishFailed):
            while True:
                await channel.publish("nobody", "hears", qos=2)
    with anyio.fail_after(2 * SOON), pytest.raises(ConnectionLost):
        await channel.__aenter__()
    line.proxy.accept()
    async with channel:
        await channel.publish("nobody", "hears")
