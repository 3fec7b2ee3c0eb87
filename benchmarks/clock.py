"""What is measured of a contender, in whatever environment it runs: nothing here is installed."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

__all__ = ("Clock", "Contender", "Work", "play", "tell", "work_of")


class Clock:
    """Measures what the contender says is to be measured: not its start, nor its end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu = 0.0
        self.waits: list[float] = []
        """How long single messages took, where each was waited for."""
        self.outside = 0
        """How many messages were done while it did not run."""
        self.is_running = False
        self._began = self._began_cpu = self._lap = 0.0

    @contextmanager
    def running(self) -> Generator[None]:
        """Measure what is done within."""
        self.begin()
        yield
        self.end()

    def begin(self) -> None:
        """Measure from here on."""
        self.is_running = True
        self._began = self._lap = perf_counter()
        self._began_cpu = process_time()

    def end(self) -> None:
        """Measure up to here."""
        self.is_running = False
        self.seconds += perf_counter() - self._began
        self.cpu += process_time() - self._began_cpu

    def lap(self) -> None:
        """Note that a message is done which was begun when the one before was done."""
        now = perf_counter()
        self.waits.append(now - self._lap)
        self._lap = now


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
    clock = work.clock
    found: dict[str, float] = {
        "count": work.count - clock.outside,
        "seconds": clock.seconds,
        "cpu": clock.cpu,
        "peak": int(told.split()[0]) / 1024,
    }
    if waits := sorted(clock.waits):
        found |= {"p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100]}
    print(json.dumps(found))


def play(ways: Mapping[str, Contender]) -> None:
    """Do what the command line of a peer's program says: one of its `ways`, and the work."""
    tell(ways[sys.argv[1]], work_of(sys.argv[2:]))


def work_of(words: Sequence[str]) -> Work:
    """Return the work that a command line names: the URL, the topic, the count."""
    url, topic, count = words
    return Work(url, topic, int(count))
