"""What the programs of the peers share; it needs nothing installed but, for Redis, redis-py.

Peers whose messages are text are given text that is made before the clock runs, and over memory
they read it as it is: less than what is asked of acked, whose messages have a type.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

from benchmarks.clock import Work

SHOUT = "for i = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', KEYS[1], ARGV[2]) end"


def bodies(count: int) -> Sequence[dict[str, Any]]:
    """Return what `benchmarks.orders` has, without its type."""
    note = "x" * 100
    return [
        {"id": number, "customer": f"customer-{number % 97}", "cents": 1999, "note": note}
        for number in range(count)
    ]


def texts(count: int) -> Sequence[str]:
    """Return the same as JSON."""
    return [json.dumps(body, separators=(",", ":")) for body in bodies(count)]


async def fanned_out(
    work: Work,
    subscribers: int,
    subscribe: Callable[[], AbstractAsyncContextManager[AsyncIterable[object]]],
    publish: Callable[[str], Awaitable[object]],
) -> None:
    """Publish to `subscribers` tasks, each of which reads all of it."""
    bodies = texts(work.count // subscribers)
    inside, begun = asyncio.Semaphore(0), asyncio.Event()

    async def read() -> None:
        async with subscribe() as messages:
            arriving = aiter(messages)
            inside.release()
            await begun.wait()
            for _ in bodies:
                await anext(arriving)

    readers = [asyncio.create_task(read()) for _ in range(subscribers)]
    for _ in readers:
        await inside.acquire()
    with work.clock.running():
        begun.set()
        for body in bodies:
            await publish(body)
        await asyncio.gather(*readers)


async def heard(
    work: Work, channel: str, payload: str | bytes, receive: Callable[[], Awaitable[object]]
) -> None:
    """Let the server publish `payload` again and again, and receive each."""
    with work.clock.running():
        publishing = asyncio.create_task(
            asyncio.to_thread(shout, work.url, channel, payload, work.count)
        )
        for _ in range(work.count):
            await receive()
    await publishing


def shout(url: str, channel: str, payload: str | bytes, count: int) -> None:
    """Let the server publish `payload` to `channel`, once somebody listens."""
    redis: Any = import_module("redis")
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        while not client.pubsub_numsub(channel)[0][1]:
            time.sleep(0.001)
        client.eval(SHOUT, 1, channel, count, payload)


class Countdown:
    """Ends the clock with the last message; begins it with the first, unless it runs already."""

    def __init__(self, work: Work) -> None:
        self._work, self._left = work, work.count
        self.over = asyncio.Event()

    def passed(self, some: int = 1) -> None:
        """Note that so many messages came together."""
        clock = self._work.clock
        if not clock.is_running:
            clock.outside = some
            clock.begin()
        self._left -= some
        if self._left <= 0 and not self.over.is_set():
            clock.end()
            self.over.set()
