"""Draining a Kafka topic: acked beside the best hand-written loop on aiokafka, interleaved.

Both read the same records with the same typed bodies from the same server, in one partition. The
hand-written loop reads 500, decodes them, and commits its position in the background, one commit
in flight. It settles nothing record by record, keeps nothing over a rebalance and reads no
headers: that is what the ratio pays for.

So do the peers, each as its documentation has it.

Then what sharing a commit is worth: one task that awaits each `ack()`, beside 64 of them.
"""

import asyncio
from importlib import import_module
from typing import Any, Final, cast

import anyio

from acked import JSON, Channel, Topic
from acked.layers.kafka import KafkaLayer
from benchmarks.contest import Contender, Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer

BATCH: Final = 500
MANY: Final = 64
aiokafka: Final = cast("Any", import_module("aiokafka"))  # it has no types


async def fill(work: Work) -> None:
    """Publish orders."""
    topic, bodies = Topic(work.topic, Order), orders(work.count)
    async with Channel(KafkaLayer(_servers(work), create_topics=1)) as channel:
        for start in range(0, work.count, 1000):
            await channel.publish_many(topic, bodies[start : start + 1000])


async def by_hand(work: Work) -> None:
    """Read 500, decode, and commit in the background, one commit in flight."""
    decode = JSON.decoder(Order)
    consumer = aiokafka.AIOKafkaConsumer(
        work.topic,
        bootstrap_servers=_servers(work),
        group_id="hand",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        commit: asyncio.Task[None] | None = None
        first = await consumer.getmany(timeout_ms=10_000, max_records=1)
        seen = sum(map(len, first.values()))
        with work.clock.running():
            while seen < work.count:
                found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
                for place, records in found.items():
                    for record in records:
                        decode(record.value)
                    seen += len(records)
                    if commit is None or commit.done():
                        position = {place: records[-1].offset + 1}
                        commit = asyncio.create_task(consumer.commit(position))
            await consumer.commit()
    finally:
        await consumer.stop()


async def drain(work: Work) -> None:
    """Read one by one with `confirm_acks=False`, until the last is confirmed."""
    async with (
        Channel(KafkaLayer(_servers(work))) as channel,
        channel.subscribe(
            Topic(work.topic, Order), group="acked", in_flight=8 * BATCH, confirm_acks=False
        ) as subscription,
    ):
        await (await anext(subscription)).ack()
        with work.clock.running():
            for _ in range(work.count - 1):
                await (await anext(subscription)).ack()
            while subscription.statistics().acked < work.count:  # noqa: ASYNC110
                await anyio.sleep(0.001)


async def drain_batches(work: Work) -> None:
    """Read batches of 500 and await one confirmed ack for each."""
    async with (
        Channel(KafkaLayer(_servers(work))) as channel,
        channel.subscribe(
            Topic(work.topic, Order), group="batches", in_flight=4 * BATCH
        ) as subscription,
    ):
        await (await anext(subscription)).ack()
        left = work.count - 1
        with work.clock.running():
            async for batch in subscription.batches(BATCH):
                await batch.ack()
                left -= len(batch)
                if not left:
                    break


def awaiting(tasks: int) -> Contender:
    """Return the contender of `tasks` tasks, each awaiting the ack of one message at a time."""

    async def contender(work: Work) -> None:
        async with (
            Channel(KafkaLayer(_servers(work))) as channel,
            channel.subscribe(
                Topic(work.topic, Order), group=f"tasks-{tasks}", in_flight=4 * BATCH
            ) as subscription,
        ):
            await (await anext(subscription)).ack()
            numbers = iter(range(work.count - 1))

            async def handle() -> None:
                for _ in numbers:
                    await (await anext(subscription)).ack()
                    if tasks == 1:
                        work.clock.lap()

            with work.clock.running():
                async with anyio.create_task_group() as group:
                    for _ in range(tasks):
                        group.start_soon(handle)

    return contender


def _servers(work: Work) -> str:
    return work.url.removeprefix("kafka://")


HAND = "aiokafka by hand, getmany(500)"
PIPELINED, BATCHES = "acked, async for, confirm_acks=False", "acked, batches(500), confirmed"
ONE, TASKS = "acked, one task awaiting each ack", f"acked, {MANY} tasks awaiting each ack"
CONFLUENT, CONFLUENT_500 = "confluent-kafka, poll", "confluent-kafka, consume(500)"
FASTSTREAM, FASTSTREAM_500 = "FastStream, one by one", "FastStream, batches of 500"

CONTESTS = (
    Contest(
        "kafka",
        {
            HAND: by_hand,
            PIPELINED: drain,
            BATCHES: drain_batches,
            ONE: awaiting(1),
            TASKS: awaiting(MANY),
            CONFLUENT: Peer("confluent_kafka", "one"),
            CONFLUENT_500: Peer("confluent_kafka", "500"),
            FASTSTREAM: Peer("faststream", "kafka"),
            FASTSTREAM_500: Peer("faststream", "kafka-500"),
        },
        {
            "one by one / aiokafka": (PIPELINED, HAND),
            "batches / aiokafka": (BATCHES, HAND),
            f"{MANY} tasks / one task": (TASKS, ONE),
            "one by one / confluent-kafka": (PIPELINED, CONFLUENT),
            "batches / confluent-kafka": (BATCHES, CONFLUENT_500),
            "one by one / FastStream": (PIPELINED, FASTSTREAM),
            "batches / FastStream": (BATCHES, FASTSTREAM_500),
        },
        count=(20_000, 50_000),
        broker="kafka",
        fill=fill,
        fewer={ONE: 20},
    ),
)
