"""Offsets with holes: after acks in any order exactly the unacked come again (C13, C14, row 6)."""

import random
from itertools import pairwise

import anyio
import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from acked.conformance.harness import fresh
from tests.layers.kafka_kit import ack, admin_of, feed_of, layer_at, producer_of, record, take

pytestmark = pytest.mark.anyio

CLEANED_WITHIN = 90.0
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "200",
    "delete.retention.ms": "100",
}


async def topic_with(broker, settings: dict[str, str]) -> str:
    topic = fresh("topic")
    async with admin_of(broker) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
    return topic


async def in_transactions(broker, dice: random.Random, topic: str, values: list[bytes]) -> None:
    """Produce `values` in transactions of a few, some of them aborted ones of other values."""
    async with producer_of(broker, transactional_id=fresh("tx")) as producer:
        while values:
            await producer.begin_transaction()
            is_aborted = dice.random() < 0.3
            count = dice.randint(1, 5)
            chunk, values = (
                ([b"-1"] * count, values) if is_aborted else (values[:count], values[count:])
            )
            for value in chunk:
                key = b"aborted" if is_aborted else value
                await producer.send_and_wait(topic, value, key)
            await (producer.abort_transaction() if is_aborted else producer.commit_transaction())


async def offsets_of(layer, topic: str, count: int) -> list[int]:
    async with feed_of(layer, topic, fresh("g")) as feed:
        return [int(one.position.partition(":")[2]) for one in await take(feed, count)]


async def restart_until_all_is_acked(
    layer, dice: random.Random, topic: str, owed: list[str]
) -> None:
    """Ack a random choice in random order, leave, and see what comes to the next consumer."""
    group = fresh("group")
    while owed:
        async with feed_of(layer, topic, group) as feed:
            got = await take(feed, dice.randint(1, len(owed)))
            places = [one.position for one in got]
            assert places == owed[: len(got)]
            chosen = [one for one in got if dice.random() < 0.7]
            dice.shuffle(chosen)
            for start in range(0, len(chosen), 15):
                await ack(feed, chosen[start : start + 15])
            acked = {one.position for one in chosen}
            owed = [place for place in owed if place not in acked]


@pytest.mark.parametrize("seed", range(3))
async def test_over_transactions_exactly_the_unacked_come_again(kafka_broker, seed) -> None:
    dice = random.Random(seed)
    topic = await topic_with(kafka_broker, {})
    await in_transactions(kafka_broker, dice, topic, [b"%d" % n for n in range(60)])
    async with layer_at(kafka_broker) as layer:
        offsets = await offsets_of(layer, topic, 60)
        assert offsets[-1] - offsets[0] > 60  # there are holes
        await restart_until_all_is_acked(layer, dice, topic, [f"0:{n}" for n in offsets])


async def test_over_a_compacted_transactional_topic_exactly_the_unacked_come_again(
    kafka_broker,
) -> None:
    """The cleaner has really made holes, and those of transactions are there too."""
    dice = random.Random(11)
    topic = await topic_with(kafka_broker, COMPACTED)
    values = [b"%d" % dice.randint(0, 40) for _ in range(120)]
    await in_transactions(kafka_broker, dice, topic, values)
    async with layer_at(kafka_broker) as layer, producer_of(kafka_broker) as producer:
        offsets: list[int] = []
        with anyio.fail_after(CLEANED_WITHIN):
            while not offsets or len(offsets) > len(set(values)) + 20:
                await anyio.sleep(0.5)
                await producer.send_and_wait(topic, b"0", b"rolls the segment")
                offsets = await read_all(layer, topic)
        # The cleaner must not go on while we compare, and may be at it when it is told.
        async with admin_of(kafka_broker) as admin:
            calm = {"cleanup.policy": "delete"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, calm)])
        offsets = await read_all(layer, topic)
        with anyio.fail_after(CLEANED_WITHIN):
            while True:
                await anyio.sleep(2)
                again = await read_all(layer, topic)
                if again[: len(offsets)] == offsets:
                    break
                offsets = again
        assert len(offsets) < len(values)
        assert any(later - earlier > 2 for earlier, later in pairwise(offsets))
        for seed in range(3):
            places = [f"0:{n}" for n in again]
            await restart_until_all_is_acked(layer, random.Random(seed), topic, places)


async def read_all(layer, topic: str) -> list[int]:
    """Return the offsets of all records that are there, up to a sentinel published now."""
    sentinel = record(topic, -1, key="sentinel")  # one key: the cleaner keeps one of all
    (receipt,) = await layer.publish([sentinel])
    last = int(receipt.position.partition(":")[2])
    offsets: list[int] = []
    async with feed_of(layer, topic, fresh("g")) as feed:
        while not offsets or offsets[-1] != last:
            got = await feed.receive(1000)
            offsets += [int(one.position.partition(":")[2]) for one in got]
    return offsets
