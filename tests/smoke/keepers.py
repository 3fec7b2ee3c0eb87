"""For each broker, with its own client: put something in that it must keep, and look for it."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiomqtt
import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from anyio import fail_after
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"


@asynccontextmanager
async def redis_client(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))
    async with client:
        yield client


async def put_into_redis(url: str, mark: str) -> None:
    async with redis_client(url) as client:
        await client.xadd(mark, {"mark": mark})


async def is_in_redis(url: str, mark: str) -> bool:
    async with redis_client(url) as client:
        return [fields for _, fields in await client.xrange(mark) or []] == [
            {b"mark": mark.encode()}
        ]


async def put_into_postgres(url: str, mark: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create table if not exists marks (mark text)")
    await connection.execute("insert into marks values ($1)", mark)
    await connection.close()


async def is_in_postgres(url: str, mark: str) -> bool:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval("select count(*) from marks where mark = $1", mark)
    await connection.close()
    return bool(found == 1)


def mqtt_client(url: str, **options: object) -> aiomqtt.Client:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return aiomqtt.Client(parts.hostname, parts.port, **options)  # type: ignore[arg-type]


async def put_into_mqtt(url: str, mark: str) -> None:
    """Queue a message at QoS 1 for a session whose client is away."""
    async with mqtt_client(url, identifier=mark, clean_session=False) as subscriber:
        await subscriber.subscribe(mark, qos=1)
    async with mqtt_client(url) as publisher:
        await publisher.publish(mark, mark, qos=1)


async def is_in_mqtt(url: str, mark: str) -> bool:
    with fail_after(10):
        async with mqtt_client(url, identifier=mark, clean_session=False) as subscriber:
            message = await anext(aiter(subscriber.messages))
    return bool(message.payload == mark.encode())


def kafka_address(url: str) -> str:
    return urlsplit(url).netloc


async def create_topic(address: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def put_into_kafka(url: str, topic: str) -> None:
    address = kafka_address(url)
    await create_topic(address, topic)
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    async with producer:
        await producer.send_and_wait(topic, topic.encode())


@asynccontextmanager
async def kafka_consumer(url: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka_address(url),
        group_id=f"{topic}-group",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        yield consumer


async def is_in_kafka(url: str, topic: str) -> bool:
    async with kafka_consumer(url, topic) as consumer:
        with fail_after(20):
            record = await consumer.getone()
    return bool(record.value == topic.encode())


Put = Callable[[str, str], Awaitable[None]]
IsIn = Callable[[str, str], Awaitable[bool]]

KEEPERS: dict[str, tuple[Put, IsIn]] = {
    "redis": (put_into_redis, is_in_redis),
    "postgres": (put_into_postgres, is_in_postgres),
    "kafka": (put_into_kafka, is_in_kafka),
    "mqtt": (put_into_mqtt, is_in_mqtt),
}
