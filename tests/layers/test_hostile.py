"""Somebody hostile publishes with a client that is not ours: nobody ends by it, nor their memory.

The same seed makes the same messages, 500 for each broker; then comes one that is as it should be.
"""

import random
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import pytest

from acked import Channel, Redelivery
from acked.conformance.harness import fresh
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Record

pytestmark = pytest.mark.anyio

COUNT = 500
SOON = 60.0
MIB = 2**20
GOOD = "as it should be"

Send: TypeAlias = Callable[[random.Random, int], Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def junk(chance: random.Random, most: int = 60) -> bytes:
    start = chance.choice([b"", b"\x00acked\x001", b"acked:t[", b"acked:b[", b"{", b'"', b"\xff"])
    return start + chance.randbytes(chance.randrange(most))


def text(chance: random.Random, most: int = 30) -> str:
    return "".join(
        chance.choices("a\x1b\n\x7fü\u2028\U0001f600\ufeff%'\"\\", k=chance.randrange(most))
    )


NAMES = ["acked-id", "acked-timestamp", "acked-content-type", "acked:id", "acked:key", "u:%", "h:x"]


class ToRedisStreams:
    """XADD with any fields."""

    def __init__(self, broker: Any, topic: str) -> None:
        import redis

        self.client, self.topic = redis.Redis.from_url(broker.url), topic

    async def send(self, chance: random.Random, number: int) -> None:
        named = [b"body", b"id", b"content_type", b"timestamp", b"key", b"h:", b"h:\xff", b""]
        fields = {
            chance.choice([*named, junk(chance)]): junk(chance)
            for _ in range(chance.randrange(1, 12))
        }
        self.client.xadd(self.topic, fields)

    async def close(self) -> None:
        self.client.close()


class ToRedisPubSub(ToRedisStreams):
    """PUBLISH of any bytes."""

    async def send(self, chance: random.Random, number: int) -> None:
        self.client.publish(self.topic, junk(chance))


class ToKafka:
    """Any key, value and headers."""

    def __init__(self, broker: Any, topic: str) -> None:
        import aiokafka

        at = broker.url.removeprefix("kafka://")
        self.client, self.topic = aiokafka.AIOKafkaProducer(bootstrap_servers=at), topic
        self.is_started = False

    async def send(self, chance: random.Random, number: int) -> None:
        if not self.is_started:
            await self.client.start()
            self.is_started = True
        names = [chance.choice([*NAMES, text(chance)]) for _ in range(chance.randrange(6))]
        headers = [(name, chance.choice([None, junk(chance)])) for name in names]
        key, value = chance.choice([(None, junk(chance)), (junk(chance), None), (b"\xff", b"\xff")])
        await self.client.send(self.topic, value, key=key, headers=headers)
        if number == COUNT - 1:
            await self.client.flush()

    async def close(self) -> None:
        await self.client.stop()


class ToMQTT:
    """Any payload and properties that the protocol has a place for."""

    def __init__(self, broker: Any, topic: str) -> None:
        from tests.layers.mqtt.kit import foreign_client

        self.entered = foreign_client(broker.url)
        self.client, self.topic = self.entered.__enter__(), topic

    async def send(self, chance: random.Random, number: int) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        legal = "aü\U0001f600%'\"\\\ufeff"
        word = lambda: "".join(chance.choices(legal, k=chance.randrange(20)))  # noqa: E731
        properties = Properties(PacketTypes.PUBLISH)
        pairs = [(chance.choice([*NAMES, word()]), word()) for _ in range(chance.randrange(8))]
        properties.UserProperty = pairs
        if chance.random() < 0.5:
            properties.ContentType = word()
            properties.CorrelationData = junk(chance)
        sent = self.client.publish(self.topic, junk(chance), qos=1, properties=properties)
        if number % 50 == 49:
            await anyio.to_thread.run_sync(sent.wait_for_publish, 10)

    async def close(self) -> None:
        self.entered.__exit__(None, None, None)


class ToPostgres:
    """NOTIFY with any text."""

    def __init__(self, broker: Any, topic: str) -> None:
        self.url, self.topic = broker.url, topic
        self.client: Any = None

    async def send(self, chance: random.Random, number: int) -> None:
        import asyncpg

        self.client = self.client or await asyncpg.connect(self.url)
        said = junk(chance).decode("latin-1").replace("\x00", "") + text(chance)
        await self.client.execute("SELECT pg_notify($1, $2)", self.topic, f"{said}{number}")

    async def close(self) -> None:
        await self.client.close()


def url_of(broker: Any, scheme: str) -> str:
    more = "?create_topics=1" if scheme == "kafka" else ""
    return f"{scheme}://{broker.url.partition('://')[2]}{more}"


@asynccontextmanager
async def under_fire(kind: Any, broker: Any, topic: str) -> AsyncGenerator[None]:
    """Publish all of it, in order."""
    somebody, chance = kind(broker, topic), random.Random(12)
    try:
        for number in range(COUNT):
            await somebody.send(chance, number)
        yield
    finally:
        await somebody.close()


@pytest.mark.parametrize(
    ("scheme", "fixture", "kind"),
    [
        pytest.param("redis-streams", "redis_broker", ToRedisStreams, marks=pytest.mark.redis),
        pytest.param("kafka", "kafka_broker", ToKafka, marks=pytest.mark.kafka),
        pytest.param("mqtt", "mqtt_broker", ToMQTT, marks=pytest.mark.mqtt),
    ],
)
async def test_a_consumer_reads_on_whatever_somebody_publishes(
    scheme: str, fixture: str, kind: Any, request: pytest.FixtureRequest
) -> None:
    broker = request.getfixturevalue(fixture)
    topic = fresh("topic")
    redelivery = Redelivery(dead_letter=f"{topic}-dead")
    async with Channel.from_url(url_of(broker, scheme)) as channel:
        if scheme == "kafka":
            await channel.publish(topic, 0)
            await channel.publish(f"{topic}-dead", 0)
        async with (
            channel.subscribe(f"{topic}-dead", group="g") as letters,
            channel.subscribe(topic, group="g", redelivery=redelivery) as sub,
        ):
            async with under_fire(kind, broker, topic):
                await channel.publish(topic, GOOD)
            with anyio.fail_after(SOON):
                async for delivery in sub:
                    await delivery.ack()
                    if delivery.body == GOOD:
                        break
            told = sub.statistics()
            assert letters.statistics().delivered == 0
    assert told.delivered + told.dead_lettered >= COUNT
    assert (told.set_aside, told.lost) == (0, 0)


@pytest.mark.parametrize(
    ("scheme", "fixture", "kind"),
    [
        pytest.param("redis-pubsub", "redis_broker", ToRedisPubSub, marks=pytest.mark.redis),
        pytest.param("postgres-notify", "postgres_broker", ToPostgres, marks=pytest.mark.postgres),
    ],
)
async def test_a_listener_reads_on_whatever_somebody_publishes(
    scheme: str, fixture: str, kind: Any, request: pytest.FixtureRequest
) -> None:
    broker = request.getfixturevalue(fixture)
    topic = fresh("topic")
    async with (
        Channel.from_url(url_of(broker, scheme), fire_and_forget=True) as channel,
        channel.subscribe(topic, capacity=2 * COUNT) as sub,
    ):
        async with under_fire(kind, broker, topic):
            await channel.publish(topic, GOOD)
        with anyio.fail_after(SOON):
            async for message in sub:
                if message.body == GOOD:
                    break
        told = sub.statistics()
    assert told.delivered + told.undecodable == COUNT + 1
    assert told.missed == 0


IN_FLIGHT_BYTES = 4 * MIB
BESIDE = 12 * MIB
"""What a consumer takes beyond that, while messages of 1 MiB come and go to the dead letters: what
its client fetched ahead, one that is read, one request of letters, and one message too many."""
LARGE = 160
"""Messages: 48 MiB of metadata and 160 bytes of bodies."""


def large(topic: str, number: int) -> Record:
    """Return a message that is nearly nothing but metadata, and of a type that nobody had."""
    headers = {
        0: {f"{number}-{n}": "" for n in range(900)},
        1: {"one": f"{number}" + "v" * 60_000},
        2: {f"{number}-{n}": "v" * 900 for n in range(900)},
        3: {},
    }[number % 4]
    key = "k" * 60_000 if number % 4 == 3 else None
    return Record(topic, b"1", f"id-{number}", key, headers, f"type/{number}-" + "t" * 60_000)


@asynccontextmanager
async def layer_for(name: str, request: pytest.FixtureRequest) -> AsyncGenerator[Any]:
    if name == "memory-queue":
        yield MemoryQueueLayer()
    elif name == "sqlite-queue":
        yield SQLiteQueueLayer(request.getfixturevalue("tmp_path") / "queue.db")
    else:
        broker = request.getfixturevalue(f"{name.partition('-')[0]}_broker")
        yield Channel.from_url(url_of(broker, name)).layer


@pytest.mark.parametrize("dead_letter", [None, "dead"])
@pytest.mark.parametrize(
    "name",
    [
        "memory-queue",
        "sqlite-queue",
        pytest.param("redis-streams", marks=pytest.mark.redis),
        pytest.param("postgres-queue", marks=pytest.mark.postgres),
        pytest.param("kafka", marks=pytest.mark.kafka),
        pytest.param("mqtt", marks=pytest.mark.mqtt),
    ],
)
async def test_memory_stays_within_its_bound_whatever_is_beside_the_bodies(
    name: str, dead_letter: str | None, request: pytest.FixtureRequest
) -> None:
    topic, dead = fresh("topic"), dead_letter and fresh("dead")
    async with layer_for(name, request) as layer, Channel(layer) as channel:
        if dead:
            async with channel.subscribe(dead, group="g"):
                await channel.publish(dead, 0)
        async with channel.subscribe(topic, group="g"):
            pass
        for number in range(LARGE):
            await layer.publish([large(topic, number)])
        await channel.publish(topic, GOOD)
        tracemalloc.start()
        try:
            async with channel.subscribe(
                topic,
                group="g",
                in_flight_bytes=IN_FLIGHT_BYTES,
                redelivery=Redelivery(dead_letter=dead),
            ) as sub:
                with anyio.fail_after(SOON):
                    delivery = await anext(sub)
                assert delivery.body == GOOD
                await delivery.ack()
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        told = sub.statistics()
    assert peak < IN_FLIGHT_BYTES + BESIDE, f"{peak / MIB:.1f} MiB"
    assert told.set_aside + told.dead_lettered == LARGE
