"""Draining a Kafka topic: acked beside the best hand-written loop on aiokafka, interleaved.

Both read the same records with the same typed bodies from the same server, in one partition. The
hand-written loop reads 500, decodes them, and commits its position in the background, one commit
in flight. It settles nothing record by record, keeps nothing over a rebalance and reads no
headers: that is what the ratio pays for.

Then what sharing a commit is worth: one task that awaits each `ack()`, beside 64 of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from time import perf_counter
from typing import Any, Final, cast

import anyio
import msgspec

from acked import JSON, Channel, Topic
from acked.layers.kafka import KafkaLayer
from benchmarks.report import Report
from compose.fleet import create

BATCH: Final = 500
MANY: Final = 64
aiokafka: Final = cast("Any", import_module("aiokafka"))  # it has no types


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    note: str


Contender = Callable[[str, str, int], Awaitable[float]]
"""Given servers, topic and number of messages, returns messages a second."""


async def fill(servers: str, topic: str, count: int) -> None:
    """Publish `count` orders."""
    orders = Topic(topic, Order)
    bodies = [Order(number, f"customer-{number % 97}", 1999, "x" * 100) for number in range(count)]
    async with Channel(KafkaLayer(servers, create_topics=1)) as channel:
        for start in range(0, count, 1000):
            await channel.publish_many(orders, bodies[start : start + 1000])


async def by_hand(servers: str, topic: str, count: int) -> float:
    """Read 500, decode, and commit in the background, one commit in flight."""
    decode = JSON.decoder(Order)
    consumer = aiokafka.AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id="hand",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        commit: asyncio.Task[None] | None = None
        seen = 0
        first = await consumer.getmany(timeout_ms=10_000, max_records=1)
        start = perf_counter()
        for records in first.values():
            seen += len(records)
        while seen < count:
            found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            for place, records in found.items():
                for record in records:
                    decode(record.value)
                seen += len(records)
                if commit is None or commit.done():
                    position = {place: records[-1].offset + 1}
                    commit = asyncio.create_task(consumer.commit(position))
        await consumer.commit()
        return count / (perf_counter() - start)
    finally:
        await consumer.stop()


async def drain(servers: str, topic: str, count: int) -> float:
    """Read one by one with `confirm_acks=False`; leaving flushes."""
    async with Channel(KafkaLayer(servers)) as channel:
        subscription = channel.subscribe(
            Topic(topic, Order), group="acked", in_flight=8 * BATCH, confirm_acks=False
        )
        start, left = 0.0, count
        async with subscription:
            async for delivery in subscription:
                if left == count:
                    start = perf_counter()
                await delivery.ack()
                left -= 1
                if not left:
                    break
            while subscription.statistics().acked < count:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            return count / (perf_counter() - start)


async def drain_batches(servers: str, topic: str, count: int) -> float:
    """Read batches of 500 and await one confirmed ack for each."""
    async with Channel(KafkaLayer(servers)) as channel:
        subscription = channel.subscribe(Topic(topic, Order), group="batches", in_flight=4 * BATCH)
        start, left = 0.0, count
        async with subscription:
            async for batch in subscription.batches(BATCH):
                if left == count:
                    start = perf_counter()
                await batch.ack()
                left -= len(batch)
                if not left:
                    break
        return count / (perf_counter() - start)


def awaiting(tasks: int) -> Contender:
    """Return the contender of `tasks` tasks, each awaiting the ack of one message at a time."""

    async def contender(servers: str, topic: str, count: int) -> float:
        async with Channel(KafkaLayer(servers)) as channel:
            left = count = count if tasks > 1 else count // 20
            subscription = channel.subscribe(
                Topic(topic, Order), group=f"tasks-{tasks}", in_flight=4 * BATCH
            )

            async def work() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    delivery = await anext(subscription)
                    await delivery.ack()

            async with subscription:
                await (await anext(subscription)).ack()
                left -= 1
                start = perf_counter()
                async with anyio.create_task_group() as group:
                    for _ in range(tasks):
                        group.start_soon(work)
                return count / (perf_counter() - start)

    return contender


CONTENDERS: dict[str, Contender] = {
    "aiokafka by hand, getmany(500)": by_hand,
    "acked, async for, confirm_acks=False": drain,
    "acked, batches(500), confirmed": drain_batches,
    "acked, one task awaiting each ack": awaiting(1),
    f"acked, {MANY} tasks awaiting each ack": awaiting(MANY),
}


def run(*, quick: bool) -> Report:
    """Measure every contender on a private server, interleaved, and return what it came to."""
    count, rounds = (20_000, 3) if quick else (50_000, 7)
    best: dict[str, float] = {}
    with create("kafka", is_for_benchmarks=True) as broker:
        servers = broker.url.removeprefix("kafka://")
        for turn in range(rounds):
            topic = f"orders-{turn}"
            asyncio.run(fill(servers, topic, count))
            for name, contender in CONTENDERS.items():
                rate = asyncio.run(measured(contender, servers, topic, count))
                best[name] = max(best.get(name, 0.0), rate)
    report = Report("kafka", "messages/s", best)
    hand, drained, batched, one, many = CONTENDERS
    report.ratio("acked / by hand", drained, hand)
    report.ratio("acked in batches / by hand", batched, hand)
    report.ratio(f"{MANY} tasks / one task", many, one)
    return report


async def measured(contender: Contender, servers: str, topic: str, count: int) -> float:
    """Return what `contender` says."""
    return await contender(servers, topic, count)
