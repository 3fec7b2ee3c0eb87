"""A day of traffic through the queue in PostgreSQL, at full speed: what becomes of table and rate.

    python -m benchmarks.bloat --minutes 10 [--json FILE]

One process publishes by 100 and acks by 100, a steady backlog between the two, on a private server
whose autovacuum is as it comes. Every `--every` seconds it tells the rate of that time, the rows
that were settled and not cleared away yet, and the sizes of the table and its indexes, each with a
bar. A day of ten messages a second is 864,000: at full speed that is some minutes.

What it is to show: the sizes stop growing, and the rate of the end is that of the beginning. It
ends with the rate of its last tenth over that of its first, after seconds that warm up.
"""

import argparse
import asyncio
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
import msgspec

from acked import Channel, Topic
from acked.layers.postgres_queue import PostgresQueueLayer
from benchmarks.orders import Order, orders
from compose.fleet import create

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

MANY: Final = 100
BACKLOG: Final = 2_000
"""Messages between the publisher and the consumer."""
WARM: Final = 5.0
"""Seconds that are not compared."""
WIDTH: Final = 20
MEBIBYTE: Final = 1024 * 1024
TOPIC: Final = Topic("orders", Order)

SIZES: Final = """
select n_dead_tup, autovacuum_count, pg_table_size(relid), pg_indexes_size(relid)
from pg_stat_user_tables where schemaname = 'acked' and relname = 'message'"""


class Sample(msgspec.Struct, frozen=True):
    """What was seen at one moment."""

    at: float
    """Seconds since the beginning."""
    acked: int
    """Messages until then."""
    dead: int
    vacuums: int
    table: float
    """MiB, as the next."""
    indexes: float


class Traffic:
    """Publishes and acks until it is cancelled."""

    def __init__(self, channel: Channel[PostgresQueueLayer]) -> None:
        self.acked = 0
        self._published = 0
        self._channel = channel
        self._room = asyncio.Event()

    async def publish(self) -> None:
        """Keep `BACKLOG` messages waiting."""
        bodies = orders(MANY)
        while True:
            self._room.clear()
            while self._published - self.acked < BACKLOG:
                await self._channel.publish_many(TOPIC, bodies)
                self._published += MANY
            await self._room.wait()

    async def consume(self) -> None:
        """Ack whatever comes."""
        subscribed = self._channel.subscribe(TOPIC, group="g", in_flight=2 * MANY)
        async with subscribed as subscription:
            async for batch in subscription.batches(MANY):
                await batch.ack()
                self.acked += len(batch)
                self._room.set()


async def sampled(url: str, seconds: float, every: float) -> list[Sample]:
    """Return what was seen in so many seconds of traffic, and print it as it comes."""
    samples: list[Sample] = []
    connection: Connection = await asyncpg.connect(url)
    async with Channel(PostgresQueueLayer(url)) as channel:
        traffic, began = Traffic(channel), monotonic()
        tasks = [asyncio.create_task(run()) for run in (traffic.publish, traffic.consume)]
        while not samples or samples[-1].at < seconds:
            ended, _ = await asyncio.wait(tasks, timeout=every)
            for task in ended:
                task.result()
            dead, vacuums, table, indexes = await connection.fetchrow(SIZES) or (0, 0, 0, 0)
            sizes = (dead, vacuums, table / MEBIBYTE, indexes / MEBIBYTE)
            samples.append(Sample(monotonic() - began, traffic.acked, *sizes))
            print(line(samples), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await connection.close()
    return samples


def rate(first: Sample, last: Sample) -> float:
    """Return the messages a second between two samples."""
    return (last.acked - first.acked) / (last.at - first.at)


def line(samples: list[Sample]) -> str:
    """Return the last of `samples` as a line of the picture."""
    now = samples[-1]
    before = samples[-2] if len(samples) > 1 else Sample(0.0, 0, 0, 0, 0.0, 0.0)
    figures = (
        f"{now.at:7.0f} s  {rate(before, now):8,.0f}/s",
        f"{now.dead:8,d} dead {bar(now.dead / 1000)}",
        f"{now.table:6.1f} MiB {bar(now.table)}",
        f"indexes {now.indexes:6.1f} MiB {bar(now.indexes)}",
        f"{now.vacuums} vacuums",
    )
    return "  ".join(figures)


def bar(size: float) -> str:
    """Return a bar that is as long as `size` is large, up to a width that stands for more."""
    return f"{'#' * min(WIDTH, round(size / 4)):<{WIDTH}}"


def steadiness(samples: list[Sample]) -> float:
    """Return the rate of the last tenth over that of the first, what warms up left out."""
    warm = [one for one in samples if one.at > WARM]
    tenth = max(1, len(warm) // 10)
    return rate(warm[-1 - tenth], warm[-1]) / rate(warm[0], warm[tenth])


def main() -> None:
    """Let there be traffic."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bloat", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples there too")
    asked = parser.parse_args()
    with create("postgres", is_for_benchmarks=True) as broker:
        samples = asyncio.run(sampled(broker.url, 60 * asked.minutes, asked.every))
    print(f"{samples[-1].acked:,} messages; last tenth / first: {steadiness(samples):.2f}")
    if asked.json is not None:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(samples), indent=2))


if __name__ == "__main__":
    main()
