"""Three brokers, everything on all of them: a leader killed in mid-stream costs no message."""

import time

import anyio
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from acked import Channel, PublishFailed
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from acked.types import Severity
from tests.layers.kafka_kit import admin_of, layer_at, record

pytestmark = pytest.mark.anyio

TOTAL = 600


def leader_of(layer: KafkaLayer, topic: str) -> int:
    """Return the number of the node that leads the only partition of `topic`, from 1."""
    cluster = layer.producer.client.cluster
    return cluster.leader_for_partition(TopicPartition(topic, 0))


async def test_copies_that_need_not_be_written_are_a_warning(kafka_cluster) -> None:
    """And a well kept topic is none: three brokers, three copies, two of them in sync."""
    safe, unsafe = fresh("safe"), fresh("unsafe")
    async with admin_of(kafka_cluster) as admin:
        settings = {"min.insync.replicas": "1"}
        await admin.create_topics([NewTopic(unsafe, 1, 3, topic_configs=settings)])
    layer = layer_at(kafka_cluster, replicas=3)
    async with layer:
        await layer.publish([record(safe, 1)])
        assert max(finding.severity for finding in await layer.check()) < Severity.WARNING
        await layer.publish([record(unsafe, 1)])
        found = {finding.name: finding for finding in await layer.check()}
    assert found["min_insync_replicas"].severity is Severity.WARNING
    assert unsafe in found["min_insync_replicas"].message


async def test_a_leader_killed_in_mid_stream_loses_nothing(kafka_cluster, record_property) -> None:
    """H1, row 39: what was accepted arrives, acks hold, and consumption goes on by itself."""
    topic, group = fresh("topic"), fresh("group")
    accepted, seen, twice, stall, retries = set[int](), set[int](), 0, 0.0, 0
    layer = layer_at(kafka_cluster, replicas=3)
    async with Channel(layer) as channel, anyio.create_task_group() as tasks:

        async def publish() -> None:
            nonlocal stall, retries
            for number in range(TOTAL):
                asked = time.monotonic()
                while number not in accepted:
                    try:
                        await channel.publish(topic, number)
                    except PublishFailed:
                        retries += 1  # it may have been accepted all the same: a duplicate then
                    else:
                        accepted.add(number)
                stall = max(stall, time.monotonic() - asked)

        async def consume() -> None:
            nonlocal twice
            async with channel.subscribe(topic, group=group) as subscription:
                async for batch in subscription.batches(50):
                    await batch.ack()
                    numbers = [delivery.body for delivery in batch]
                    twice += len(numbers) - len(set(numbers) - seen)
                    seen.update(numbers)
                    if len(seen) == TOTAL:
                        return

        with anyio.fail_after(60):
            await channel.publish(topic, 0)
            tasks.start_soon(publish)
            tasks.start_soon(consume)
            while len(seen) < TOTAL // 3:
                await anyio.sleep(0.01)
            leader = kafka_cluster.nodes[leader_of(layer, topic) - 1]
            leader.kill()
            while len(seen) < TOTAL or len(accepted) < TOTAL:
                await anyio.sleep(0.01)
    record_property("longest_publish_stall_s", round(stall, 1))
    print(f"longest publish {stall:.1f} s, {retries} retries, {twice} duplicates")
    assert accepted == seen == set(range(TOTAL))
    assert twice <= retries + 1 + 50  # the first one is published twice; a batch may be in flight
