"""taskiq over Redis Streams: its receiver in this process, with as many tasks as the others have.

Its command runs the same one; it would add processes.
"""

import asyncio
import logging
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import Countdown, bodies

MANY = 64
BATCH = 500


def opened(work: Work) -> tuple[Any, Any, Countdown]:
    """Return a broker, its task, and what counts how often that was done."""
    logging.disable()
    broker: Any = import_module("taskiq_redis").RedisStreamBroker(
        work.url, queue_name=work.topic, xread_count=BATCH
    )
    countdown = Countdown(work)

    async def handle(_: dict[str, int | str]) -> None:
        countdown.passed()

    return broker, broker.task(task_name="handle")(handle), countdown


async def fill(work: Work) -> None:
    """Send tasks."""
    broker, task, _ = opened(work)
    await broker.startup()
    for body in bodies(work.count):
        await task.kiq(body)
    await broker.shutdown()


async def drained(work: Work, tasks: int) -> None:
    """Let `tasks` tasks at once be handled; 500 are read."""
    broker, _, countdown = opened(work)
    receiver: Any = import_module("taskiq.receiver").Receiver(
        broker, max_async_tasks=tasks, max_prefetch=BATCH
    )
    is_over = asyncio.Event()
    work.clock.begin()
    receiving = asyncio.create_task(receiver.listen(is_over))
    await countdown.over.wait()
    is_over.set()
    await receiving
    await broker.shutdown()


WAYS = {
    "fill": fill,
    "redis-1": partial(drained, tasks=1),
    "redis-64": partial(drained, tasks=MANY),
}

if __name__ == "__main__":
    play(WAYS)
