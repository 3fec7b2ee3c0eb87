"""What one message costs as a number grows: subscribers, readers, topics, what is pending, bytes.

A cost that grows faster than the work is a cliff that a benchmark of one size never sees. Each
size is measured in a process of its own; a step is the cost at a size over that at the size
before, mostly a tenth of it. Costs are of wall time; the least of the rounds counts, since a
neighbour only ever adds. Steps beyond 1.5 are marked. Costs of bodies are for each kilobyte,
where they are larger than one.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import msgspec

from acked import RAW, AckSubscription, Channel, Overflow, Topic
from acked.abc import AckLayer
from acked.layers.kafka import KafkaLayer
from acked.layers.memory import MemoryLayer
from benchmarks.clock import Clock
from compose.fleet import create

STEP: Final = 1.5
"""By how much a message may cost more at ten times the size."""
PATIENCE: Final = 600
BODY: Final = b"x" * 100
KILOBYTE: Final = 1000
BATCH: Final = 500
TEN, HUNDRED, THOUSAND = (1, 10, 100, 1000, 10_000), (1, 10, 100), (1, 10, 100, 1000)


Measured = Callable[[str, int, Clock], Awaitable[float]]
"""Does the work at a URL with a size, and returns how many units it was."""


def topic_of(name: str) -> Topic[bytes]:
    """Return a topic of bytes as they are: what codecs do is measured elsewhere."""
    return Topic(name, bytes, codec=RAW)


async def fill(
    channel: Channel[AckLayer], topic: Topic[bytes], count: int, body: bytes = BODY
) -> None:
    """Publish `count` messages, in requests of at most 1,000 or a mebibyte."""
    some = max(1, min(1000, (1 << 20) // len(body)))
    for start in range(0, count, some):
        await channel.publish_many(topic, [body] * min(some, count - start))


async def drain(subscription: AckSubscription[bytes], count: int) -> None:
    """Take and ack `count` messages, in batches."""
    left = count
    async for batch in subscription.batches(BATCH):
        await batch.ack()
        left -= len(batch)
        if left <= 0:
            break


async def subscribers(url: str, size: int, clock: Clock) -> float:
    """Publish to `size` subscribers of the memory layer, each a task."""
    del url  # it is in this process
    topic, count = topic_of("news"), max(20, 100_000 // size)
    async with Channel(MemoryLayer()) as channel, AsyncExitStack() as entered:
        members = [
            await entered.enter_async_context(
                channel.subscribe(topic, overflow=Overflow.BLOCK, capacity=100)
            )
            for _ in range(size)
        ]

        async def read(number: int) -> None:
            for _ in range(count):
                await anext(members[number])

        with clock.running():
            async with anyio.create_task_group() as reading:
                for number in range(size):
                    reading.start_soon(read, number)
                for _ in range(count):
                    await channel.publish(topic, BODY)
    return size * count


async def readers(url: str, size: int, clock: Clock) -> float:
    """Let `size` tasks read one subscription, each awaiting its ack."""
    topic, count = topic_of("jobs"), max(20_000, 2 * size)
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=20_000) as subscription,
    ):
        await fill(channel, topic, count)
        numbers = iter(range(count))

        async def handle() -> None:
            for _ in numbers:
                await (await anext(subscription)).ack()

        with clock.running():
            async with anyio.create_task_group() as tasks:
                for _ in range(size):
                    tasks.start_soon(handle)
    return count


async def concurrent_acks(url: str, size: int, clock: Clock) -> float:
    """Ack `size` messages at the same time, again and again."""
    topic, rounds = topic_of("jobs"), max(1, 10_000 // size)
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=20_000) as subscription,
    ):
        await fill(channel, topic, size * rounds)
        for _ in range(rounds):
            held = [await anext(subscription) for _ in range(size)]
            with clock.running():
                async with anyio.create_task_group() as tasks:
                    for delivery in held:
                        tasks.start_soon(delivery.ack)
    return size * rounds


async def topics(url: str, size: int, clock: Clock) -> float:
    """Drain what is spread over the `size` topics of one subscription."""
    count = max(10_000, size)
    names = [topic_of(f"t{number}") for number in range(size)]
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(*names, group="g") as subscription,
    ):
        for name in names:
            await fill(channel, name, count // size)
        with clock.running():
            await drain(subscription, count // size * size)
    return count // size * size


async def pending(url: str, size: int, clock: Clock) -> float:
    """Drain while another consumer of the group holds `size`."""
    topic, count = topic_of("jobs"), 20_000
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=size, lease=600.0) as holding,
    ):
        await fill(channel, topic, size)
        held = [await anext(holding) for _ in range(size)]
        async with channel.subscribe(topic, group="g") as subscription:
            await fill(channel, topic, count)
            with clock.running():
                await drain(subscription, count)
        for delivery in held:
            await delivery.ack()
    return count


async def bodies(url: str, size: int, clock: Clock) -> float:
    """Drain bodies of `size` bytes; the unit is a kilobyte of them, or a message if it is less."""
    topic, count = topic_of("blobs"), max(4, min(2000, (64 << 20) // size))
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g") as subscription,
    ):
        with clock.running():
            await fill(channel, topic, count, b"x" * size)
            await drain(subscription, count)
    return count * max(1.0, size / KILOBYTE)


async def groups(url: str, size: int, clock: Clock) -> float:
    """Let each of `size` groups drain the same messages, one group after the other."""
    topic, count = topic_of("jobs"), max(500, 10_000 // size)
    async with Channel.from_url(url) as channel, AsyncExitStack() as entered:
        members = [
            await entered.enter_async_context(channel.subscribe(topic, group=f"g{number}"))
            for number in range(size)
        ]
        await fill(channel, topic, count)
        with clock.running():
            for member in members:
                await drain(member, count)
    return size * count


async def partitions(url: str, size: int, clock: Clock) -> float:
    """Drain a topic of Kafka's that has `size` partitions."""
    topic, count = topic_of(f"log-{size}"), 20_000
    layer = KafkaLayer(url.removeprefix("kafka://"), create_topics=size)
    async with Channel(layer) as channel:
        await fill(channel, topic, count)
        async with channel.subscribe(topic, group="g", in_flight=4 * BATCH) as subscription:
            await (await anext(subscription)).ack()
            with clock.running():
                await drain(subscription, count - 1)
    return count - 1


@dataclass(frozen=True)
class Series:
    """What grows, and what is measured at each size."""

    measured: Measured
    url: str
    sizes: Sequence[int]

    @contextmanager
    def place(self) -> Generator[str]:
        """Yield the URL of a broker that has seen nothing yet."""
        kind = self.url.partition("-")[0].partition(":")[0]
        with ExitStack() as stack:
            if kind == "memory":
                yield self.url
            elif kind == "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                yield f"{self.url}{folder}/queue.db"
            else:
                broker = stack.enter_context(create(kind, is_for_benchmarks=True))
                yield self.url + broker.url.partition("://")[2]


BYTES: Final = (100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)
MANY: Final = (1, 10, 100, 1000, 10_000, 100_000)
SERIES: Final[Mapping[str, Series]] = {
    "subscribers, memory": Series(subscribers, "memory://", TEN),
    "readers of one subscription, memory-queue": Series(readers, "memory-queue://", TEN),
    "acks at once, memory-queue": Series(concurrent_acks, "memory-queue://", TEN),
    "topics of one subscription, memory-queue": Series(topics, "memory-queue://", TEN),
    "topics of one subscription, sqlite-queue": Series(topics, "sqlite-queue://", TEN),
    "topics of one subscription, redis-streams": Series(topics, "redis-streams://", THOUSAND),
    "topics of one subscription, postgres-queue": Series(topics, "postgres-queue://", TEN),
    "pending, memory-queue": Series(pending, "memory-queue://", MANY),
    "pending, sqlite-queue": Series(pending, "sqlite-queue://", MANY),
    "pending, redis-streams": Series(pending, "redis-streams://", MANY),
    "pending, postgres-queue": Series(pending, "postgres-queue://", MANY),
    "bytes of a body, memory-queue": Series(bodies, "memory-queue://", BYTES),
    "bytes of a body, sqlite-queue": Series(bodies, "sqlite-queue://", BYTES),
    "bytes of a body, redis-streams": Series(bodies, "redis-streams://", BYTES),
    "bytes of a body, postgres-queue": Series(bodies, "postgres-queue://", BYTES),
    "groups, memory-queue": Series(groups, "memory-queue://", HUNDRED),
    "groups, redis-streams": Series(groups, "redis-streams://", HUNDRED),
    "groups, postgres-queue": Series(groups, "postgres-queue://", HUNDRED),
    "partitions, kafka": Series(partitions, "kafka://", (1, 4, 16, 64)),
}


class Growth(msgspec.Struct):
    """What was found: microseconds of a message at each size, the least of the rounds."""

    name: str
    sizes: Sequence[int]
    costs: Sequence[float]

    @property
    def steps(self) -> Sequence[float]:
        """By how much a message costs more than at the size before."""
        return [after / before for before, after in zip(self.costs, self.costs[1:], strict=False)]

    def show(self) -> str:
        """Return a line for each size, with the step to it."""
        lines = [f"{self.name} (microseconds for each)"]
        for size, cost, step in zip(self.sizes, self.costs, [1.0, *self.steps], strict=True):
            mark = "  a cliff" if step > STEP else ""
            lines.append(f"  {size:>12,}  {cost:>10.2f}  {step:>6.2f} x{mark}")
        return "\n".join(lines)


def grown(name: str, *, quick: bool) -> Growth:
    """Measure one series, each size in a process of its own."""
    series, costs = SERIES[name], list[float]()
    sizes = series.sizes[:3] if quick else series.sizes
    for size in sizes:
        found: list[float] = []
        for _ in range(1 if quick else 3):
            with series.place() as url:
                found.append(_in_process(name, size, url))
        costs.append(min(found))
    return Growth(name, sizes, costs)


def _in_process(name: str, size: int, url: str) -> float:
    command = [sys.executable, "-m", "benchmarks.growth", "--one", name, str(size), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, {size}: {done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="series, by how they begin")
    parser.add_argument("--quick", action="store_true", help="three sizes, one round")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write the figures there too")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SIZE", "URL"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, size, url = asked.one
        clock = Clock()
        units = asyncio.run(_measured(SERIES[name].measured, url, int(size), clock))
        print(json.dumps(1e6 * clock.seconds / units))
        return
    for name in SERIES:
        if not asked.names or any(map(name.startswith, asked.names)):
            found = grown(name, quick=asked.quick)
            print(found.show(), flush=True)
            if asked.json is not None:
                asked.json.mkdir(parents=True, exist_ok=True)
                path = asked.json / f"growth, {name}.json"
                path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


async def _measured(measured: Measured, url: str, size: int, clock: Clock) -> float:
    return await measured(url, size, clock)


if __name__ == "__main__":
    _main()
