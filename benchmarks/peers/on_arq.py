"""arq: jobs in a sorted set of Redis, each a key of its own; results are not kept.

Its worker looks every half second for a hundred jobs: here it looks again at once, which no
application would let it do.
"""

import logging
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import Countdown, bodies

MANY = 64


def settings_of(work: Work) -> Any:
    """Return where it connects."""
    logging.disable()
    settings: Any = import_module("arq.connections").RedisSettings
    return settings.from_dsn(work.url)


async def fill(work: Work) -> None:
    """Enqueue jobs."""
    create_pool: Any = import_module("arq.connections").create_pool
    pool = await create_pool(settings_of(work))
    for body in bodies(work.count):
        await pool.enqueue_job("handle", body, _queue_name=work.topic)
    await pool.aclose()


async def drained(work: Work, jobs: int) -> None:
    """Let `jobs` jobs at once be done until there are none."""
    module: Any = import_module("arq.worker")
    countdown = Countdown(work)

    async def handle(*_: object) -> None:
        countdown.passed()

    worker = module.Worker(
        functions=[module.func(handle, name="handle", keep_result=0)],
        redis_settings=settings_of(work),
        queue_name=work.topic,
        max_jobs=jobs,
        poll_delay=0,
        burst=True,
        handle_signals=False,
    )
    work.clock.begin()
    await worker.async_run()
    await worker.close()


WAYS = {
    "fill": fill,
    "redis-1": partial(drained, jobs=1),
    "redis-64": partial(drained, jobs=MANY),
}

if __name__ == "__main__":
    play(WAYS)
