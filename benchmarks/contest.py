"""Contenders for one piece of work, each in a process of its own, round by round, interleaved.

A process of its own, since what one contender leaves behind, in the allocator or the loop, is not
the next one's; interleaved, since on a shared machine a neighbour's minute must not hit one of them
only. The order turns with the rounds. A ratio is made of two that ran side by side.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

import redis

from benchmarks.clock import Clock, Contender, Work, tell
from benchmarks.peers import ROOT, Peer
from benchmarks.report import Report, Round
from compose.fleet import create

__all__ = ("Clock", "Contender", "Contest", "Work", "contests")

PATIENCE = 300
"""Seconds after which a contender hangs."""


@dataclass(frozen=True)
class Contest:
    """One piece of work, who does it, and whom to compare; `count` and `rounds` quick and full."""

    name: str
    contenders: Mapping[str, Contender | Peer]
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
        names = [name for name in self.contenders if self._is_here(name)]
        for turn in range(self.rounds[not quick]):
            topic, count = f"orders-{turn}", self.count[not quick]
            if self.fill is not None:
                _in_process(_ours(self.name, "fill"), url, topic, count)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                before = _commands(url)
                some = count // self.fewer.get(name, 1)
                found = _in_process(self._command(name), url, topic, some)
                commands = None if before is None else (_commands(url) or 0) - before
                each = None if commands is None else commands / some
                rate, cpu = some / found["seconds"], 1e6 * found["cpu"] / some
                report.add(name, Round(rate, cpu, found["peak"], each))
        for label, (first, second) in self.ratios.items():
            if first in names and second in names:
                report.ratio(label, first, second)
        return report

    def _is_here(self, name: str) -> bool:
        contender = self.contenders[name]
        if not isinstance(contender, Peer) or contender.is_installed:
            return True
        print(f"{self.name}: without {name}; python -m benchmarks.peers {contender.name}")
        return False

    def _command(self, name: str) -> list[str]:
        contender = self.contenders[name]
        return contender.command() if isinstance(contender, Peer) else _ours(self.name, name)


def _ours(contest: str, contender: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contest", contest, contender]


def _in_process(command: Sequence[str], *work: object) -> Any:
    """Return what a process of its own printed."""
    done = subprocess.run(
        [*command, *map(str, work)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])}: {done.stderr[-3000:]}")
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
    if found is None or isinstance(found, Peer):
        raise SystemExit(f"{asked.contest} has nothing to run as {asked.contender}")
    tell(found, Work(asked.url, asked.topic, asked.count))


if __name__ == "__main__":
    _main()
