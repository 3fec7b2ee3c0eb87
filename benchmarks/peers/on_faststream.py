"""FastStream: Redis Streams, Redis pub/sub and Kafka, one handler each.

It decodes JSON into a dictionary, checked by pydantic. The first two run until the last handler is
called, from the start of its application on; Kafka from the first message on, since joining a
group takes seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import Countdown, bodies, shout, texts

MANY = 64
BATCH = 500
Order = dict[str, int | str]


def on_redis(work: Work) -> tuple[Any, Any]:
    """Return its module for Redis, and a broker that says nothing."""
    module: Any = import_module("faststream.redis")
    return module, module.RedisBroker(work.url, logger=None)


async def drained(work: Work, workers: int) -> None:
    """Let `workers` handlers at once have what is in the stream; they read 500."""
    module, broker = on_redis(work)
    countdown = Countdown(work)
    stream = module.StreamSub(
        work.topic, group="group", consumer="c", last_id="0", max_records=BATCH
    )

    @broker.subscriber(stream=stream, max_workers=workers)
    async def handle(_: Order) -> None:
        countdown.passed()

    async with broker:
        work.clock.begin()
        await broker.start()
        await countdown.over.wait()


async def published(work: Work, tasks: int) -> None:
    """Let `tasks` tasks publish to the stream, each awaiting one message at a time."""
    _, broker = on_redis(work)
    waiting = iter(bodies(work.count))

    async def send() -> None:
        for body in waiting:
            await broker.publish(body, stream=work.topic)
            if tasks == 1:
                work.clock.lap()

    async with broker:
        with work.clock.running():
            await asyncio.gather(*(send() for _ in range(tasks)))


async def heard(work: Work) -> None:
    """Handle what the server publishes over pub/sub."""
    _, broker = on_redis(work)
    countdown = Countdown(work)

    @broker.subscriber(work.topic)
    async def handle(_: Order) -> None:
        countdown.passed()

    async with broker:
        await broker.start()
        work.clock.begin()
        await asyncio.to_thread(shout, work.url, work.topic, texts(1)[0], work.count)
        await countdown.over.wait()


async def of_kafka(work: Work, options: dict[str, Any]) -> None:
    """Drain a partition, one by one or in batches."""
    module: Any = import_module("faststream.kafka")
    broker = module.KafkaBroker(work.url.removeprefix("kafka://"), logger=None)
    countdown = Countdown(work)

    async def handle(_: Order) -> None:
        countdown.passed()

    async def handle_batch(batch: list[Order]) -> None:
        countdown.passed(len(batch))

    group = f"faststream-{len(options)}"
    subscribe: Callable[[Callable[..., Awaitable[None]]], object] = broker.subscriber(
        work.topic, group_id=group, auto_offset_reset="earliest", **options
    )
    subscribe(handle_batch if options else handle)
    async with broker:
        await broker.start()
        await countdown.over.wait()


WAYS = {
    "fill": partial(published, tasks=MANY),
    "redis-1": partial(drained, workers=1),
    "redis-64": partial(drained, workers=MANY),
    "publish-1": partial(published, tasks=1),
    "publish-64": partial(published, tasks=MANY),
    "pubsub": heard,
    "kafka": partial(of_kafka, options={}),
    "kafka-500": partial(of_kafka, options={"batch": True, "max_records": BATCH}),
}

if __name__ == "__main__":
    play(WAYS)
