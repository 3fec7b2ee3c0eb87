"""One process of the fan-out benchmark: `python fan_out_child.py CONTENDER URL SUBSCRIBERS ROUNDS`.

A program of its own, since each contender needs its own interpreter: `broadcaster` runs in an
environment with the original, where nothing of `acked` is installed. Prints one line of JSON.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

TOPIC = "fan-out"

# Each contender is opened at a URL and gives a way to publish and a way to subscribe; what is
# subscribed to is an asynchronous iterator.
Publish = Callable[[str], Any]
Subscribe = Callable[[], AbstractAsyncContextManager[Any]]


async def acked(url: str, stack: AsyncExitStack) -> tuple[Publish, Subscribe]:
    """Open the native API."""
    from acked import Channel  # noqa: PLC0415 - not in the environment of the others

    channel = Channel.from_url(url.replace("redis://", "redis-pubsub://"), fire_and_forget=True)
    await stack.enter_async_context(channel)
    return (
        lambda text: channel.publish(TOPIC, text),
        lambda: channel.subscribe(TOPIC, capacity=64),
    )


async def compat(url: str, stack: AsyncExitStack) -> tuple[Publish, Subscribe]:
    """Open acked's face of broadcaster."""
    from acked.compat.broadcaster import Broadcast  # noqa: PLC0415 - as above

    broadcast = await stack.enter_async_context(Broadcast(url))
    return (
        lambda text: broadcast.publish(TOPIC, text),
        lambda: broadcast.subscribe(TOPIC),
    )


async def broadcaster(url: str, stack: AsyncExitStack) -> tuple[Publish, Subscribe]:
    """Open the original."""
    # By its name: it is not there where this file is checked.
    broadcast: Any = import_module("broadcaster").Broadcast(url)
    await stack.enter_async_context(broadcast)
    return (
        lambda text: broadcast.publish(channel=TOPIC, message=text),
        lambda: broadcast.subscribe(channel=TOPIC),
    )


CONTENDERS = {"acked": acked, "compat": compat, "broadcaster": broadcaster}


def resident() -> int:
    """Return the bytes of memory that this process really has."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


async def main(contender: str, url: str, subscribers: int, rounds: int) -> None:
    """Subscribe, publish `rounds` messages one after the other, and print what it took."""
    async with AsyncExitStack() as stack:
        publish, subscribe = await CONTENDERS[contender](url, stack)
        arrived = 0
        everyone = asyncio.Event()
        ready = asyncio.Semaphore(0)

        async def read() -> None:
            nonlocal arrived
            async with subscribe() as subscription:
                ready.release()
                events: AsyncIterator[Any] = aiter(subscription)
                for _ in range(rounds):
                    await anext(events)
                    arrived += 1
                    if arrived == subscribers:
                        everyone.set()

        before = resident()
        started = perf_counter()
        tasks = [asyncio.create_task(read()) for _ in range(subscribers)]
        for _ in range(subscribers):
            await ready.acquire()
        subscribing = perf_counter() - started
        each = (resident() - before) / subscribers
        seconds: list[float] = []
        cpu_seconds: list[float] = []
        for number in range(rounds):
            arrived = 0
            everyone.clear()
            started, cpu_started = perf_counter(), process_time()
            await publish(f"message {number}")
            await asyncio.wait_for(everyone.wait(), 120)
            seconds.append(perf_counter() - started)
            cpu_seconds.append(process_time() - cpu_started)
        await asyncio.gather(*tasks)
    found = {
        "bytes_each": each,
        "subscribing_seconds": subscribing,
        "fan_out": seconds,
        "fan_out_cpu": cpu_seconds,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
