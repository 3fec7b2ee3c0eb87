"""What is measured of a contender, in whatever environment it runs: nothing here is installed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

__all__ = ("Clock", "Contender", "Work", "tell", "work_of")


class Clock:
    """Measures what the contender says is to be measured: not its start, nor its end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu = 0.0

    @contextmanager
    def running(self) -> Generator[None]:
        """Measure what is done within."""
        began, began_cpu = perf_counter(), process_time()
        yield
        self.seconds += perf_counter() - began
        self.cpu += process_time() - began_cpu


@dataclass(frozen=True)
class Work:
    """What a contender is to do: `count` messages of `topic` at `url`."""

    url: str
    topic: str
    count: int
    clock: Clock = field(default_factory=Clock)


Contender = Callable[[Work], Awaitable[None]]


def tell(contender: Contender, work: Work) -> None:
    """Let `contender` do `work`, and print what was measured."""

    async def running() -> None:
        await contender(work)

    asyncio.run(running())
    # Not what getrusage says: that counts the parent's, from before this program was loaded.
    told = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    peak = int(told.split()[0]) / 1024
    print(json.dumps({"seconds": work.clock.seconds, "cpu": work.clock.cpu, "peak": peak}))


def work_of(words: Sequence[str]) -> Work:
    """Return the work that a command line names: the URL, the topic, the count."""
    url, topic, count = words
    return Work(url, topic, int(count))
