"""What a worker owes to the others of its group, on every ack-capable layer.

Here, since the brokers of all of them are here anyway.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from acked import Channel, Topic
from acked.abc import AckLayer
from acked.conformance.harness import fresh
from acked.layers.memory_queue import MemoryQueueLayer
from tests.worker.kit import attempts_until, url_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

RUNNING = 32
WAITING = 10_000
DRAIN = 1.0
SOON = 1.0
"""Seconds within which another process has what was released: 0.03 to 0.06 on a free machine."""
LEAVING = 2.0
"""Seconds that closing and the end of a process may take after the drain; both on a free machine."""

WORKERS = 4
JOBS = 200
WORK = 0.02
"""Seconds that a job takes."""
FIFTH = JOBS // 5
BY_THE_BROKER = JOBS // 10
"""Kafka says by the partition whose a job is, MQTT in turns: nobody has none, but it is not exact."""
LEAST = {"kafka": BY_THE_BROKER, "mqtt": BY_THE_BROKER}

OpenChannel = Callable[[int], Channel[AckLayer]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def jobs() -> Topic[int]:
    return Topic(fresh("jobs"), int)


@pytest.mark.crash
@pytest.mark.parametrize("where", ["sqlite", "sqlite-trio", "redis", "postgres", "kafka", "mqtt"])
async def test_sigterm_with_handlers_running_and_thousands_waiting(
    where: str, request: pytest.FixtureRequest, tmp_path: Path, jobs: Topic[int]
) -> None:
    layer, _, loop = where.partition("-")
    url = url_of(layer, request, tmp_path)
    async with Channel.from_url(url) as channel:
        async with channel.subscribe(jobs, group="g"):
            pass  # MQTT keeps nothing for a group that was never there
        for first in range(0, WAITING + RUNNING, 1000):
            await channel.publish_many(jobs, range(first, min(first + 1000, WAITING + RUNNING)))
        words = (loop or "asyncio", url, jobs.name, str(DRAIN))
        with subprocess.Popen(
            [sys.executable, "-m", "tests.worker.slow", *words], stdout=subprocess.PIPE, text=True
        ) as worker:
            lines = (line.strip() for line in worker.stdout or ())
            running = {int(next(lines).split()[0]) for _ in range(RUNNING)}
            worker.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert list(lines) == ["drained"]
            assert worker.wait() == 0
        took = time.monotonic() - began
        assert DRAIN <= took < DRAIN + LEAVING * crowding()
        ended = time.monotonic()
        seen = await attempts_until(channel, jobs, running)
        assert time.monotonic() - ended < SOON * crowding()
        # MQTT has one flag for it: what had been sent before comes as a second attempt.
        assert max(seen.values()) == (2 if where == "mqtt" else 1)


def crowding() -> float:
    """Return by how much longer things take here: how many want each of the processors."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.parametrize("where", ["memory", "sqlite", "redis", "postgres", "kafka", "mqtt"])
async def test_four_workers_share_what_waits(
    where: str, request: pytest.FixtureRequest, tmp_path: Path, jobs: Topic[int]
) -> None:
    """With default options; the first of them took all, and three were idle."""
    open_channel = channels_on(where, request, tmp_path)
    handled: Counter[int] = Counter()
    everything = anyio.Event()
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(n)) for n in range(WORKERS)]
        for channel in channels:  # MQTT deals out among those who are there, or were
            async with channel.subscribe(jobs, group="g"):
                pass
        await channels[0].publish_many(jobs, range(JOBS))
        tasks = await stack.enter_async_context(anyio.create_task_group())

        async def work(number: int) -> None:
            async def handle(_: int) -> None:
                await anyio.sleep(WORK)
                handled[number] += 1
                if handled.total() == JOBS:
                    everything.set()

            await channels[number].process(jobs, handle, group="g", concurrency=1)

        for number in range(WORKERS):
            tasks.start_soon(work, number)
        with anyio.fail_after(60):
            await everything.wait()
        tasks.cancel_scope.cancel()
    assert min(handled[n] for n in range(WORKERS)) >= LEAST.get(where, FIFTH), handled


def channels_on(where: str, request: pytest.FixtureRequest, folder: Path) -> OpenChannel:
    """Return a function that opens the channel of the worker of a number."""
    if where == "memory":
        queue = MemoryQueueLayer()
        return lambda _: Channel(queue)
    url = url_of(where, request, folder).replace("create_topics=1", "create_topics=8")
    members = "?shared=true&client_id=worker-{}" if where == "mqtt" else ""
    return lambda number: Channel.from_url(url + members.format(number))
