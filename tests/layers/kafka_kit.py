"""What the tests of the Kafka layer share: layers, records, feeds, and clients beside them."""

from contextlib import asynccontextmanager

import aiokafka
import anyio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest

from acked import Start
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from acked.types import Outcome, Record, Settlement, Verb

SOON = 20.0


def layer_at(broker, **options) -> KafkaLayer:
    settings = {"create_topics": 1, "session_timeout": 6.0} | options
    return KafkaLayer(broker.url.removeprefix("kafka://"), **settings)


def record(topic: str, body: object, **fields) -> Record:
    return Record(topic, str(body).encode(), fresh("id"), timestamp=1.5, **fields)


def feed_of(layer: KafkaLayer, topic: str, group: str, *, in_flight=1000, start=Start.EARLIEST):
    return layer.consume([topic], group, in_flight=in_flight, lease=60.0, start=start)


async def take(feed, count: int) -> list:
    got: list = []
    with anyio.fail_after(SOON):
        while len(got) < count:
            got += await feed.receive(count - len(got))
    return got


async def ack(feed, leased) -> None:
    outcomes = await feed.settle([Settlement(one.token, Verb.ACK) for one in leased])
    assert set(outcomes) == {Outcome.CONFIRMED}


def bodies(leased) -> list[int]:
    return [int(one.record.body) for one in leased]


@asynccontextmanager
async def producer_of(broker, **options):
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=broker.url.removeprefix("kafka://"), **options
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def admin_of(broker):
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.url.removeprefix("kafka://"))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def group_at(broker, group: str) -> tuple[str, list[str]]:
    """Return the state in which the broker sees `group`, and the ids of its members."""
    async with admin_of(broker) as admin:
        (answer,) = await admin.describe_consumer_groups([group])
    ((_, _, state, _, _, members),) = (one[:6] for one in answer.groups)
    return state, [member_id for member_id, *_ in members]


async def members_of(broker, group: str) -> list[str]:
    """Return the ids of the members that the broker sees in `group`."""
    return (await group_at(broker, group))[1]


async def evict(broker, group: str, members: list[str]) -> None:
    """Take `members` out of `group`, as if nobody had heard of them for a session."""
    async with admin_of(broker) as admin:
        coordinator = await admin.find_coordinator(group)
        for member in members:
            await admin._client.send(coordinator, LeaveGroupRequest(group, member))


async def committed_at(broker, group: str) -> dict:
    """Return what the broker keeps for `group`: by partition, the offset and its metadata."""
    async with admin_of(broker) as admin:
        kept = await admin.list_consumer_group_offsets(group)
    return {(place.topic, place.partition): at for place, at in kept.items()}
