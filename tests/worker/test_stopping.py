"""A worker that is told to stop: what was begun ends or goes back, and nobody pays for it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import anyio
import anyio.from_thread
import pytest

from acked import Channel, ChannelClosed, Delivery, Topic
from acked.abc import AckLayer
from tests.worker.conftest import MakeLayer
from tests.worker.kit import nothing_is_owed

pytestmark = pytest.mark.anyio

RUNNING = 32
WAITING = 10_000
DRAIN = 1.0
LEASE = 30.0
"""Of a worker; what comes again long before was given back."""
SOON = 1.0
"""Seconds within which another consumer has what was released: 0.03 to 0.06 on a free machine."""
LEAVING = 2.0
"""Seconds that closing and the end of a process may take after the drain."""


@pytest.fixture(params=["sqlite-asyncio", "sqlite-trio", "redis-asyncio"])
def url_and_loop(request: pytest.FixtureRequest, tmp_path: object) -> tuple[str, str]:
    layer, loop = request.param.split("-")
    if layer == "sqlite":
        return f"sqlite-queue:///{tmp_path}/queue.db", loop
    redis = request.getfixturevalue("redis_broker").url
    return redis.replace("redis://", "redis-streams://"), loop


@pytest.mark.crash
async def test_sigterm_with_handlers_running_and_thousands_waiting(
    url_and_loop: tuple[str, str], jobs: Topic[int]
) -> None:
    url, loop = url_and_loop
    async with Channel.from_url(url) as channel:
        for first in range(0, WAITING + RUNNING, 1000):
            await channel.publish_many(jobs, range(first, min(first + 1000, WAITING + RUNNING)))
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.slow", loop, url, jobs.name, str(DRAIN)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with worker:
            lines = lines_of(worker)
            running = {int(next(lines).split()[0]) for _ in range(RUNNING)}
            worker.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert list(lines) == ["drained"]
            assert worker.wait() == 0
        took = time.monotonic() - began
        assert DRAIN <= took < DRAIN + LEAVING
        ended = time.monotonic()
        seen = await attempts_until(channel, jobs, running)
        assert time.monotonic() - ended < SOON
        assert set(seen.values()) == {1}


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.strip() for line in process.stdout)


async def attempts_until(
    channel: Channel[AckLayer], jobs: Topic[int], wanted: set[int]
) -> dict[int, int]:
    """Return the attempt of each message that is read until all of `wanted` are there."""
    seen: dict[int, int] = {}
    with anyio.fail_after(20):
        async with channel.subscribe(jobs, group="g") as sub:
            async for batch in sub.batches(250):
                seen |= {one.body: one.attempt for one in batch}
                await batch.ack()
                if wanted <= seen.keys():
                    break
    return seen


async def test_handlers_that_end_within_the_drain_have_their_messages_acked(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    handled: list[int] = []
    release = anyio.Event()
    begun = anyio.Event()
    async with Channel(make_layer()) as channel, Channel(make_layer()) as other:
        await channel.publish_many(jobs, range(20))

        async def handle(number: int) -> None:
            handled.append(number)
            if len(handled) == 4:
                begun.set()
            await release.wait()

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as workers:
                workers.start_soon(
                    lambda: channel.process(jobs, handle, group="g", concurrency=4, drain=20)
                )
                await begun.wait()
                workers.cancel_scope.cancel()
                # While the four go on, another consumer has all the rest.
                tasks.start_soon(read_then, other, jobs, 16, release)
        assert sorted(handled) == [0, 1, 2, 3]
        await nothing_is_owed(channel, jobs)


async def read_then(
    channel: Channel[AckLayer], jobs: Topic[int], count: int, done: anyio.Event
) -> None:
    seen = set()
    with anyio.CancelScope(shield=True), anyio.fail_after(5):
        async with channel.subscribe(jobs, group="g") as sub:
            while len(seen) < count:
                delivery = await anext(sub)
                assert delivery.attempt == 1
                seen.add(delivery.body)
                await delivery.ack()
    assert seen == set(range(4, 20))
    done.set()


async def test_handlers_that_do_not_are_cancelled_and_nobody_pays(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    begun: list[int] = []
    async with Channel(make_layer()) as channel, Channel(make_layer()) as other:
        for number in range(40):
            await channel.publish(jobs, number, key=str(number % 8))
        all_begun = anyio.Event()

        async def handle(delivery: Delivery[int]) -> None:
            begun.append(delivery.body)
            if len(begun) == 8:
                all_begun.set()
            await anyio.sleep_forever()

        async def work() -> None:
            await channel.process(jobs, handle, group="g", ordered_by="key", drain=0.3)

        async with anyio.create_task_group() as workers:
            workers.start_soon(work)
            await all_begun.wait()
            workers.cancel_scope.cancel()
        seen = await attempts_until(other, jobs, set(range(40)))
        assert seen == dict.fromkeys(range(40), 1)
        assert len(begun) == 8


async def test_a_plain_function_that_goes_on_keeps_nobody(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    began, over = anyio.Event(), threading.Event()
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 1)

        def handle(_: int) -> None:
            anyio.from_thread.run_sync(began.set)
            over.wait(20)

        async def work() -> None:
            await channel.process(jobs, handle, group="g", drain=0.1)

        try:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as workers:
                    workers.start_soon(work)
                    await began.wait()
                    workers.cancel_scope.cancel()
            assert await attempts_until(channel, jobs, {1}) == {1: 1}
        finally:
            over.set()


async def test_a_worker_ends_with_what_ended_its_subscription(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    began = anyio.Event()
    errors: list[BaseException] = []
    async with Channel(make_layer(), close_timeout=5) as channel:
        await channel.publish(jobs, 1)

        async def handle(_: int) -> None:
            began.set()

        async def work() -> None:
            try:
                await channel.process(jobs, handle, group="g")
            except ChannelClosed as error:
                errors.append(error)

        async with anyio.create_task_group() as workers:
            workers.start_soon(work)
            await began.wait()
            await channel.aclose()
    assert len(errors) == 1
