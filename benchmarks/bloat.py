"""An hour of traffic through the queue in PostgreSQL: what becomes of its cost and its sizes.

    python -m benchmarks bloat --minutes 60 [--json FOLDER]

A burst of messages is published by 100 and drained by 100, again and again, on a private server
whose autovacuum is as it comes: `RATE` messages a second, so an hour is four days of ten a second.
What one costs is told by the processor time of the whole server (autovacuum and all) and of this
process, for on a shared machine a second is not always as long as another. Nor is processor time:
so in every minute the same work is done on a queue that was made just now, and what counts is the
cost of the old one over that of the new.

It shows that the sizes stop growing, and that the last minute's messages cost what the first's did.
With `--json` there are the samples, and a picture of them, in FOLDER.
"""

import asyncio
import statistics
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
import msgspec

from acked import AckSubscription, Channel, Topic
from acked.layers.postgres_queue import PostgresQueueLayer
from benchmarks.bloat_picture import picture
from benchmarks.orders import Order, orders
from benchmarks.report import Report, Round
from compose.fleet import create
from compose.lifecycle import Broker, BrokerError

__all__ = ("MINUTE", "run")

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

MANY: Final = 100
BURST: Final = 2_000
RATE: Final = 1_000
"""Messages a second, on average."""
NEW_BURSTS: Final = 2
"""How many bursts are measured of each queue that is new, after one that warms up."""
MINUTE: Final = 60.0
MEBIBYTE: Final = 1024 * 1024
MICRO: Final = 1e6
TOPIC: Final = Topic("orders", Order)

SIZES: Final = """
select n_dead_tup, autovacuum_count, pg_table_size(relid), pg_indexes_size(relid)
from pg_stat_user_tables where schemaname = 'acked' and relname = 'message'"""


class Sample(msgspec.Struct, frozen=True):
    """What was seen of one minute."""

    minute: int
    messages: int
    cost: float
    """Microseconds of processor time for each, as the next: here and at the server."""
    cost_of_new: float
    """The same of a queue that is new."""
    at_server: float
    """How much of `cost` was the server's."""
    dead: int
    vacuums: int
    table: float
    """MiB, as the next."""
    indexes: float

    @property
    def ratio(self) -> float:
        """The cost over that of a new queue."""
        return self.cost / self.cost_of_new


class Spent(msgspec.Struct, frozen=True):
    """Processor time in seconds, of the server and of this process."""

    server: float
    here: float

    @property
    def whole(self) -> float:
        """Both together."""
        return self.server + self.here


class Meter:
    """Measures the processor time of a server, all of its processes, and of this one."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._last = self._total()

    def lap(self) -> Spent:
        """Return what was spent since the lap before."""
        before, self._last = self._last, self._total()
        return Spent(self._last.server - before.server, self._last.here - before.here)

    def _total(self) -> Spent:
        server = self._broker.cpu_seconds
        if server is None:
            raise BrokerError("bloat counts the server's processor time: run it natively, here")
        return Spent(server, process_time())


class Traffic:
    """Bursts through a queue, one connection and one consumer for all of them."""

    def __init__(
        self, channel: Channel[PostgresQueueLayer], subscription: AckSubscription[Order]
    ) -> None:
        self._channel = channel
        self._subscription = subscription
        self._bodies = orders(MANY)

    async def burst(self) -> int:
        """Publish a burst and drain it; return how many that were."""
        for _ in range(BURST // MANY):
            await self._channel.publish_many(TOPIC, self._bodies)
        left = BURST
        async for batch in self._subscription.batches(MANY):
            await batch.ack()
            left -= len(batch)
            if not left:
                break
        return BURST


@asynccontextmanager
async def traffic(url: str, schema: str) -> AsyncGenerator[Traffic]:
    """Open a queue in a schema of its own, with one consumer."""
    async with (
        Channel(PostgresQueueLayer(url, schema=schema)) as channel,
        channel.subscribe(TOPIC, group="g", in_flight=2 * MANY) as subscription,
    ):
        yield Traffic(channel, subscription)


async def cost_of_new(url: str, schema: str, connection: "Connection", meter: Meter) -> float:
    """Return what a message costs in a queue that is made now, and is dropped then."""
    costs: list[float] = []
    async with traffic(url, schema) as new:
        await new.burst()  # plans are made, and the first pages
        for _ in range(NEW_BURSTS):
            meter.lap()
            costs.append(MICRO / await new.burst() * meter.lap().whole)
    await connection.execute(f"drop schema {schema} cascade")
    return statistics.mean(costs)


async def sampled(broker: Broker, minutes: float, seconds: float) -> list[Sample]:
    """Return what was seen in so many minutes of so many seconds, and print it as it comes."""
    samples: list[Sample] = []
    connection: Connection = await asyncpg.connect(broker.url)
    async with traffic(broker.url, "acked") as old:
        await old.burst()
        meter, began = Meter(broker), monotonic()
        for minute in count(1):
            compared = await cost_of_new(broker.url, f"new{minute}", connection, meter)
            meter.lap()
            messages = 0
            while not messages or monotonic() < began + minute * seconds:
                messages += await old.burst()
                due = began + (minute - 1) * seconds + messages / RATE
                await asyncio.sleep(max(0.0, min(due, began + minute * seconds) - monotonic()))
            spent = meter.lap()
            each = MICRO / messages
            dead, vacuums, table, indexes = await connection.fetchrow(SIZES) or (0, 0, 0, 0)
            costs = (each * spent.whole, compared, each * spent.server)
            table, indexes = table / MEBIBYTE, indexes / MEBIBYTE
            samples.append(Sample(minute, messages, *costs, dead, vacuums, table, indexes))
            print(line(samples[-1]), flush=True)
            if minute >= minutes:
                break
    await connection.close()
    return samples


def line(sample: Sample) -> str:
    """Return `sample` as a line for people."""
    return (
        f"{sample.minute:4d} min  {sample.messages:8,d} messages  {sample.cost:6.1f} us each "
        f"({sample.at_server:.1f} at the server), new {sample.cost_of_new:6.1f}: "
        f"{sample.ratio:.2f}  {sample.dead:7,d} dead  table {sample.table:5.1f} MiB  "
        f"indexes {sample.indexes:5.1f} MiB  {sample.vacuums} vacuums"
    )


def reported(samples: Sequence[Sample]) -> Report:
    """Return what the samples came to."""
    report = Report("bloat", "messages a second of processor time")
    for one in samples:
        report.add("the queue", Round(MICRO / one.cost, one.cost))
        report.add("one that is new", Round(MICRO / one.cost_of_new, one.cost_of_new))
    some = max(1, len(samples) // 4)
    first, last = (
        statistics.mean(one.ratio for one in quarter)
        for quarter in (samples[:some], samples[-some:])
    )
    report.ratios["rate of the last minute / first"] = samples[0].ratio / samples[-1].ratio
    report.ratios["rate of the last quarter / first"] = first / last
    return report


def run(*, quick: bool, minutes: float = 60.0, folder: Path | None = None) -> Report:
    """Let there be traffic; `quick` makes a minute of five seconds."""
    seconds = MINUTE / 12 if quick else MINUTE
    with create("postgres", is_for_benchmarks=True, kind="native") as broker:
        samples = asyncio.run(sampled(broker, minutes, seconds))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(samples), indent=2)
        (folder / "bloat_samples.json").write_bytes(text + b"\n")
        (folder / "bloat.svg").write_text(picture(samples))
    return reported(samples)
