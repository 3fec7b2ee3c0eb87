"""What it costs to share: the defaults beside what would be best if nobody else were there.

Four workers share 200 jobs of 20 ms, with default options and with `in_flight=1`, where nothing is
fetched that another one could begin. And one reader drains a topic as fast as it can, as it is and
with `in_flight` messages fetched at once, as it was before consumers were fair. On Kafka and MQTT
the broker says whose a message is.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Final
from uuid import uuid4

import anyio

from acked import RAW, Channel, Topic
from acked._core.ack import fetcher
from acked._machines.window_size import WindowSize
from acked.abc import AckLayer
from benchmarks.report import Report, Round
from compose.fleet import create

WORKERS: Final = 4
JOBS: Final = 200
WORK: Final = 0.02
"""Seconds that a job takes."""
DRAINED: Final = {False: 20_000, True: 5_000}
ROUNDS: Final = {False: 7, True: 3}
SCHEMES: Final = {
    "sqlite": "sqlite-queue",
    "redis": "redis-streams",
    "postgres": "postgres-queue",
    "kafka": "kafka",
    "mqtt": "mqtt",
}
OPTIONS: Final = {"kafka": "?create_topics=8", "mqtt": "?shared=true&client_id=worker-{}"}
Open = Callable[[int], Channel[AckLayer]]


class AllAtOnce(WindowSize):
    """Fetches as much as may be in flight, whatever the reader does."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.size = most

    def fetched(self, taken: int, now: float) -> None:
        """Learn nothing."""

    def reset(self) -> None:
        """Nor this."""


def run(*, quick: bool) -> Report:
    """Measure every layer."""
    report = Report("sharing", "messages/s")
    for name in ("memory", *SCHEMES):
        with _channels(name) as open_channel:
            for turn in range(ROUNDS[quick]):
                anyio.run(_round, report, name, open_channel, DRAINED[quick], turn)
        pairs = {"shared": ("defaults", "in_flight=1"), "drained": ("as it is", "all at once")}
        for what, (ours, best) in pairs.items():
            label = f"{name}: {what}, {ours} / {best}"
            report.ratio(label, f"{name}: {what}, {ours}", f"{name}: {what}, {best}")
    return report


async def _round(report: Report, name: str, open_channel: Open, count: int, turn: int) -> None:
    """Measure each way once, those that are compared in an order that turns."""
    way = 1 if turn % 2 else -1
    for label, most in (("defaults", 0), ("in_flight=1", 1))[::way]:
        took = await _share(open_channel, {"in_flight": most} if most else {})
        report.add(f"{name}: shared, {label}", Round(JOBS / took))
    for label, window in (("as it is", WindowSize), ("all at once", AllAtOnce))[::way]:
        fetcher.WindowSize = window  # type: ignore[misc]  # what is compared
        report.add(f"{name}: drained, {label}", await _drain(open_channel, count))
    fetcher.WindowSize = WindowSize  # type: ignore[misc]


async def _share(open_channel: Open, options: dict[str, int]) -> float:
    """Return the seconds that the workers need for all jobs."""
    topic, left = _topic(), JOBS
    everything = anyio.Event()

    async def handle(_: bytes) -> None:
        nonlocal left
        await anyio.sleep(WORK)
        left -= 1
        if not left:
            everything.set()

    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(n)) for n in range(WORKERS)]
        await _introduce(channels, topic)
        await channels[0].publish_many(topic, [b"x"] * JOBS)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        began = time.perf_counter()
        for channel in channels:
            tasks.start_soon(_work, channel, topic, handle, options)
        await everything.wait()
        took = time.perf_counter() - began
        tasks.cancel_scope.cancel()
    return took


async def _work(
    channel: Channel[AckLayer],
    topic: Topic[bytes],
    handle: Callable[[bytes], object],
    options: dict[str, int],
) -> None:
    await channel.process(topic, handle, group="g", concurrency=1, **options)  # type: ignore[arg-type, call-overload]


async def _drain(open_channel: Open, count: int) -> Round:
    """Let one reader have `count` messages; the joining is not counted."""
    topic = _topic()
    async with open_channel(0) as channel:
        await _introduce([channel], topic)
        for first in range(0, count, 1000):
            await channel.publish_many(topic, [b"x" * 100] * min(1000, count - first))
        async with channel.subscribe(topic, group="g", confirm_acks=False) as sub:
            await (await anext(sub)).ack()
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(count - 1):
                await (await anext(sub)).ack()
        took, worked = time.perf_counter() - began, time.process_time() - cpu
        return Round(count / took, cpu=1e6 * worked / count)


async def _introduce(channels: list[Channel[AckLayer]], topic: Topic[bytes]) -> None:
    """Let the broker know who will come."""
    for channel in channels:
        async with channel.subscribe(topic, group="g"):
            pass


def _topic() -> Topic[bytes]:
    return Topic(f"jobs-{uuid4().hex}", bytes, codec=RAW)


@contextmanager
def _channels(name: str) -> Generator[Open]:
    """Yield a function that opens the channel of a worker."""
    if name == "memory":
        yield lambda _: Channel.from_url("memory-queue://sharing")
    elif name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="acked-sharing-") as folder:
            yield lambda _: Channel.from_url(f"sqlite-queue://{folder}/queue.db")
    else:
        with create(name, is_for_benchmarks=True) as broker:
            address = f"{SCHEMES[name]}://{broker.url.partition('://')[2]}{OPTIONS.get(name, '')}"
            yield lambda number: Channel.from_url(address.format(number))
