"""broadcaster: in memory a queue for each subscriber; over Redis its pub/sub, on redis-py 7."""

import json
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, play
from benchmarks.peers.reading import fanned_out, heard, texts

Broadcast: Any = import_module("broadcaster").Broadcast


async def fan_out(work: Work, subscribers: int) -> None:
    """Publish in memory."""
    async with Broadcast("memory://") as broadcast:
        subscribe, publish = broadcast.subscribe, broadcast.publish
        await fanned_out(
            work, subscribers, partial(subscribe, work.topic), partial(publish, work.topic)
        )


async def over_redis(work: Work) -> None:
    """Read what the server publishes, and decode it."""
    async with Broadcast(work.url) as broadcast, broadcast.subscribe(work.topic) as subscriber:
        events = aiter(subscriber)

        async def receive() -> None:
            json.loads((await anext(events)).message)

        await heard(work, work.topic, texts(1)[0], receive)


WAYS = {
    "memory-1": partial(fan_out, subscribers=1),
    "memory-100": partial(fan_out, subscribers=100),
    "redis": over_redis,
}

if __name__ == "__main__":
    play(WAYS)
