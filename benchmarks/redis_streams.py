"""Draining a Redis stream: acked beside the best hand-written loop on redis-py, interleaved.

Both read the same entries with the same typed bodies from the same server. The hand-written loop
reads 500, decodes them, and acks the batch in one XACK that travels with the next read. It fences
nothing, recovers nothing and renews nothing: that is what the ratio pays for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_streams import RedisStreamsLayer
from benchmarks.report import Report
from compose.fleet import create

BATCH = 500


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    note: str


Contender = Callable[[str, str, int], Awaitable[None]]


async def fill(url: str, topic: str, count: int) -> None:
    """Publish `count` orders."""
    orders = Topic(topic, Order)
    bodies = [Order(number, f"customer-{number % 97}", 1999, "x" * 100) for number in range(count)]
    async with Channel(RedisStreamsLayer(url)) as channel:
        for start in range(0, count, 1000):
            await channel.publish_many(orders, bodies[start : start + 1000])


async def by_hand(url: str, topic: str, count: int) -> None:
    """Read 500, decode, and send the acks with the next read."""
    decode = JSON.decoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    client = redis.from_url(url, socket_timeout=None, protocol=2)
    async with client:
        await client.xgroup_create(topic, "hand", id="0")
        done: list[bytes] = []
        seen = 0
        while seen < count or done:
            pipeline = client.pipeline(transaction=False)
            if done:
                pipeline.xack(topic, "hand", *done)
            pipeline.xreadgroup("hand", "consumer", {topic: ">"}, count=BATCH)
            entries: Any = (await pipeline.execute())[-1]
            rows: Sequence[tuple[bytes, dict[bytes, bytes]]] = entries[0][1] if entries else ()
            for _, fields in rows:
                decode(fields[b"body"])
            done = [entry_id for entry_id, _ in rows]
            seen += len(rows)


async def drain(url: str, topic: str, count: int) -> None:
    """Read one by one with `confirm_acks=False`; leaving flushes."""
    async with (
        Channel(RedisStreamsLayer(url)) as channel,
        channel.subscribe(
            Topic(topic, Order), group="acked", in_flight=2 * BATCH, confirm_acks=False
        ) as subscription,
    ):
        left = count
        async for delivery in subscription:
            await delivery.ack()
            left -= 1
            if not left:
                break


async def drain_batches(url: str, topic: str, count: int) -> None:
    """Read batches of 500 and await one confirmed ack for each."""
    async with (
        Channel(RedisStreamsLayer(url)) as channel,
        channel.subscribe(
            Topic(topic, Order), group="batches", in_flight=2 * BATCH
        ) as subscription,
    ):
        left = count
        async for batch in subscription.batches(BATCH):
            await batch.ack()
            left -= len(batch)
            if not left:
                break


CONTENDERS: dict[str, Contender] = {
    "redis-py by hand, COUNT 500": by_hand,
    "acked, async for, confirm_acks=False": drain,
    "acked, batches(500), confirmed": drain_batches,
}


def run(*, quick: bool) -> Report:
    """Measure every contender on a private server, interleaved, and return what it came to."""
    count, rounds = (20_000, 3) if quick else (50_000, 7)
    best: dict[str, float] = {}
    with create("redis") as broker:
        for turn in range(rounds):
            topic = f"orders-{turn}"
            asyncio.run(fill(broker.url, topic, count))
            for name, contender in CONTENDERS.items():
                rate = count / asyncio.run(timed(contender, broker.url, topic, count))
                best[name] = max(best.get(name, 0.0), rate)
    report = Report("redis_streams", "messages/s", best)
    hand, drained, batched = CONTENDERS
    report.ratio("acked / by hand", drained, hand)
    report.ratio("acked in batches / by hand", batched, hand)
    return report


async def timed(contender: Contender, url: str, topic: str, count: int) -> float:
    """Return the seconds that `contender` takes."""
    start = perf_counter()
    await contender(url, topic, count)
    return perf_counter() - start
