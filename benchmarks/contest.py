"""Contenders for one piece of work, each in a process of its own, round by round, interleaved.

A process of its own, since what one contender leaves behind, in the allocator or the loop, is not
the next one's; interleaved, since on a shared machine a neighbour's minute must not hit one of them
only. The order turns with the rounds. A ratio is made of two that ran side by side.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, cast

import redis

from benchmarks.report import Report, Round
from compose.fleet import create

PATIENCE = 300
"""Seconds after which a contender hangs."""


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


@dataclass(frozen=True)
class Contest:
    """One piece of work, who does it, and whom to compare; `count` and `rounds` quick and full."""

    name: str
    contenders: Mapping[str, Contender]
    ratios: Mapping[str, tuple[str, str]]
    count: tuple[int, int]
    rounds: tuple[int, int] = (3, 7)
    broker: str | None = None
    fill: Contender | None = None
    """Prepares the topic of one round for all."""
    fewer: Mapping[str, int] = field(default_factory=dict[str, int])
    """By how much less is measured of those that are slow on purpose."""

    def run(self, *, quick: bool) -> Report:
        """Measure all and return what it came to."""
        if self.broker is None:
            return self._measured("", quick=quick)
        with create(self.broker, is_for_benchmarks=True) as broker:
            return self._measured(broker.url, quick=quick)

    def _measured(self, url: str, *, quick: bool) -> Report:
        report = Report(self.name, "messages/s")
        names = list(self.contenders)
        for turn in range(self.rounds[not quick]):
            topic, count = f"orders-{turn}", self.count[not quick]
            if self.fill is not None:
                _in_process(self.name, "fill", url, topic, count)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                before = _commands(url)
                some = count // self.fewer.get(name, 1)
                found = _in_process(self.name, name, url, topic, some)
                commands = None if before is None else (_commands(url) or 0) - before
                each = None if commands is None else commands / some
                rate, cpu = some / found["seconds"], 1e6 * found["cpu"] / some
                report.add(name, Round(rate, cpu, found["peak"], each))
        for label, (first, second) in self.ratios.items():
            report.ratio(label, first, second)
        return report


def _in_process(contest: str, contender: str, *work: object) -> Any:
    """Return what a process of its own printed."""
    command = [sys.executable, "-m", "benchmarks.contest", contest, contender, *map(str, work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{contest}, {contender}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _commands(url: str) -> int | None:
    """Return how many commands the server has counted, where it is Redis."""
    if not url.startswith("redis://"):
        return None
    make = cast("Any", redis.Redis)  # its types are partly unknown
    with make.from_url(url) as client:
        return int(client.info("stats")["total_commands_processed"])


def contests(module: str) -> Sequence[Contest]:
    """Return those of a module of this package, by its name."""
    found: Sequence[Contest] = import_module(f"benchmarks.{module}").CONTESTS
    return found


def _main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("contest", "contender", "url", "topic"):
        parser.add_argument(name)
    parser.add_argument("count", type=int)
    asked = parser.parse_args()
    contest = next(
        one for one in contests(asked.contest.partition(".")[0]) if one.name == asked.contest
    )
    found = contest.fill if asked.contender == "fill" else contest.contenders[asked.contender]
    if found is None:
        raise SystemExit(f"{asked.contest} has nothing to fill")
    contender, work = found, Work(asked.url, asked.topic, asked.count)

    async def running() -> None:
        await contender(work)

    asyncio.run(running())
    # Not what getrusage says: that counts the parent's, from before this program was loaded.
    told = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    peak = int(told.split()[0]) / 1024
    print(json.dumps({"seconds": work.clock.seconds, "cpu": work.clock.cpu, "peak": peak}))


if __name__ == "__main__":
    _main()
