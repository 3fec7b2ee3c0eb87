"""What one waits for a message at a steady pace: from its publishing until the loop has it.

A process of its own publishes 50 together every 10 ms, in each the time of its making; the clock is
the machine's, so both processes read the same. Who keeps up has the rate that is published and a
p99 of milliseconds; who does not has a lower rate, and a p50 that grows with the length of the run.
The hand-written loops read what is there, decode it, and ack it as a batch.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, Final, cast

from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from benchmarks.clock import work_of
from benchmarks.contest import Contender, Contest, Work
from benchmarks.orders import Order
from benchmarks.peers import ROOT

TOGETHER: Final = 50
EVERY: Final = 0.01
ADDRESSES: Final = {
    "redis": "redis-streams://{}",
    "postgresql": "postgres-queue://{}",
    "kafka": "kafka://{}?create_topics=1",
}
"""The layer that is measured at each broker."""


def url_of(work: Work) -> str:
    """Return the URL of the layer at a broker's."""
    scheme, _, address = work.url.partition("://")
    return ADDRESSES[scheme].format(address)


async def publish(work: Work) -> None:
    """Publish at the pace, whatever becomes of it; one that is late catches up."""
    topic = Topic(work.topic, Order)
    async with Channel.from_url(url_of(work)) as channel:
        begun = perf_counter()
        for number in range(work.count // TOGETHER):
            await asyncio.sleep(max(0.0, begun + number * EVERY - perf_counter()))
            now = int(1e6 * perf_counter())
            await channel.publish_many(
                topic, [Order(now, "customer-1", 1999, "x" * 100)] * TOGETHER
            )


@asynccontextmanager
async def publisher_of(work: Work) -> AsyncGenerator[None]:
    """Let a process of its own publish meanwhile."""
    words = ("-m", "benchmarks.pace", work.url, work.topic, str(work.count))
    process = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
    try:
        yield
    finally:
        await process.wait()


def note(work: Work, order: Order) -> None:
    """Note how long an order has been on its way; the first begins what is measured."""
    if not work.clock.is_running:
        work.clock.begin()
    work.clock.waits.append(perf_counter() - order.id / 1e6)


def by_acked(*, confirm: bool) -> Contender:
    """Return who takes one message after the other and acks it, confirmed or not."""

    async def contender(work: Work) -> None:
        mine = replace(work, topic=f"{work.topic}-{confirm}")
        topic = Topic(mine.topic, Order)
        async with (
            Channel.from_url(url_of(mine)) as channel,
            channel.subscribe(topic, group="g", confirm_acks=confirm) as subscription,
            publisher_of(mine),
        ):
            for _ in range(work.count):
                delivery = await anext(subscription)
                note(work, delivery.body)
                await delivery.ack()
            work.clock.end()

    return contender


async def on_redis_py(work: Work) -> None:
    """Read at most 500, wait for one XACK of them, and read again."""
    decode = JSON.decoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    async with redis.from_url(work.url, socket_timeout=None, protocol=2) as client:
        await client.xgroup_create(work.topic, "hand", id="0", mkstream=True)
        async with publisher_of(work):
            left = work.count
            while left:
                found = await client.xreadgroup(
                    "hand", "consumer", {work.topic: ">"}, count=500, block=1000
                )
                rows = found[0][1] if found else ()
                for _, fields in rows:
                    note(work, decode(fields[b"body"]))
                if rows:
                    await client.xack(work.topic, "hand", *(row[0] for row in rows))
                left -= len(rows)
            work.clock.end()


HAND, CONFIRMED, PIPELINED = "by hand", "acked, each ack awaited", "acked, confirm_acks=False"


def _contest(broker: str, hand: Mapping[str, Contender]) -> Contest:
    return Contest(
        f"pace.{broker}",
        {**hand, CONFIRMED: by_acked(confirm=True), PIPELINED: by_acked(confirm=False)},
        {},
        count=(5_000, 50_000),
        broker=broker,
    )


CONTESTS = (_contest("redis", {HAND: on_redis_py}), _contest("postgres", {}), _contest("kafka", {}))

if __name__ == "__main__":
    asyncio.run(publish(work_of(sys.argv[1:])))
