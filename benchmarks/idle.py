"""What waiting costs: a hundred subscriptions, each to a topic of its own, and nothing comes.

Measured is the processor time of the process for each second, in microseconds: 10,000 are one per
cent of a core, which all of them together should stay below. Entering is over by then, and so are
the first looks, which are closer together.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import perf_counter, process_time
from typing import Any, Final

from acked import RAW, Channel, Topic
from benchmarks.places import place
from benchmarks.report import Report, Round

SUBSCRIPTIONS: Final = 100
SETTLING: Final = 12.0
"""Seconds after the last one has entered: by then each waits as long as it ever does."""
AT_ONCE: Final = 20
"""How many enter at the same time."""
SECONDS: Final = 20.0
PATIENCE: Final = 600

FORGETTING: Final = ("memory", "redis-pubsub", "postgres-notify")
"""The schemes of the layers that acknowledge nothing."""
SCHEMES: Final = (
    *("memory-queue", "sqlite-queue", "redis-streams", "postgres-queue", "mqtt", "kafka"),
    *FORGETTING,
)


async def idle(url: str) -> float:
    """Return the microseconds of processor for each second that a hundred subscriptions cost."""
    forgets = url.partition("://")[0] in FORGETTING
    channel: Channel[Any] = Channel.from_url(url, fire_and_forget=forgets)  # type: ignore[call-overload]
    options = {} if forgets else {"group": "g"}
    subscribe: Callable[..., Any] = channel.subscribe
    entering, inside = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)

    async def wait(number: int) -> None:
        async with AsyncExitStack() as entered:
            subscription = subscribe(Topic(f"idle-{number}", bytes, codec=RAW), **options)
            async with entering:
                messages = await entered.enter_async_context(subscription)
            inside.release()
            await anext(messages)

    async with channel:
        waiting = [asyncio.create_task(wait(number)) for number in range(SUBSCRIPTIONS)]
        for _ in waiting:
            await inside.acquire()
        await asyncio.sleep(SETTLING)
        began, began_cpu = perf_counter(), process_time()
        await asyncio.sleep(SECONDS)
        spent, elapsed = process_time() - began_cpu, perf_counter() - began
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    return 1e6 * spent / elapsed


def run(*, quick: bool, schemes: tuple[str, ...] = SCHEMES) -> Report:
    """Measure each layer in a process of its own; its broker has nothing else to do."""
    report = Report("idle", f"microseconds of processor a second, {SUBSCRIPTIONS} subscriptions")
    for _ in range(1 if quick else 3):
        for scheme in schemes:
            with place(f"{scheme}://") as url:
                report.add(scheme, Round(_in_process(url)))
    return report


def _in_process(url: str) -> float:
    command = [sys.executable, "-m", "benchmarks.idle", "--one", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{url}: {done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("schemes", nargs="*", metavar="SCHEME", help="layers, by their schemes")
    parser.add_argument("--one", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(asyncio.run(idle(asked.one))))
    else:
        print(run(quick=True, schemes=tuple(asked.schemes) or SCHEMES).show())


if __name__ == "__main__":
    _main()
