"""Contenders for one piece of work, each in a process of its own, round by round, interleaved.

A process of its own, since what one contender leaves behind, in the allocator or the loop, is not
the next one's; interleaved, since on a shared machine a neighbour's minute must not hit one of them
only. The order turns with the rounds. A ratio is made of two that ran side by side.

A peer that cannot be installed, or that fails, is left out, and the report says why; one of ours
that fails ends the contest.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from benchmarks.clock import Clock, Contender, Work, tell
from benchmarks.peers import ROOT, Peer
from benchmarks.report import Report, Round
from benchmarks.server import counts_at
from compose.environments import EnvironmentUnavailableError
from compose.fleet import create
from compose.lifecycle import Broker

__all__ = ("Clock", "Contender", "ContenderFailedError", "Contest", "Work", "contests")

PATIENCE = 300
"""Seconds after which a contender hangs."""


class ContenderFailedError(Exception):
    """A contender did not come to its end; the message has its last words."""


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

    def run(self, *, quick: bool, peers: bool = True, rounds: int | None = None) -> Report:
        """Measure all, or all but the peers, and return what it came to.

        Args:
            quick: fewer messages, fewer rounds.
            peers: whether those that are not ours have their turn, too.
            rounds: so many, instead of its own number.

        """
        names = [
            name for name, one in self.contenders.items() if peers or not isinstance(one, Peer)
        ]
        turns = self.rounds[not quick] if rounds is None else rounds
        if self.broker is None:
            return self._measured(names, None, self.count[not quick], turns)
        with create(self.broker, is_for_benchmarks=True) as broker:
            return self._measured(names, broker, self.count[not quick], turns)

    def _measured(self, names: list[str], broker: Broker | None, count: int, rounds: int) -> Report:
        report = Report(self.name, "messages/s")
        url = broker.url if broker else ""
        report.broker = f"{broker.name} {broker.version}" if broker else ""
        for turn in range(rounds):
            print(f"{self.name}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
            topic = f"orders-{turn}"
            if self.fill is not None:
                _in_process(_ours(self.name, "fill"), url, topic, count)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name not in report.missing:
                    self._let(name, report, broker, topic, count // self.fewer.get(name, 1))
        for label, (first, second) in self.ratios.items():
            report.ratio(label, first, second)
        return report

    def _let(
        self, name: str, report: Report, broker: Broker | None, topic: str, count: int
    ) -> None:
        """Let one contender do its work, and note what that came to."""
        contender = self.contenders[name]
        if not isinstance(contender, Peer):
            report.add(name, _round(_ours(self.name, name), broker, topic, count))
            return
        try:
            if contender.fill is not None:
                topic = f"{topic}-{contender.name}-{contender.way}"
                fill = contender.command(contender.fill)
                _in_process(fill, broker.url if broker else "", topic, count)
            report.add(name, _round(contender.command(contender.way), broker, topic, count))
        except (EnvironmentUnavailableError, ContenderFailedError) as error:
            report.leave_out(name, str(error).strip().splitlines()[-1])
            print(f"{self.name}: without {name}: {error}", file=sys.stderr)


def _round(command: Sequence[str], broker: Broker | None, topic: str, count: int) -> Round:
    before = counts_at(broker)
    found = _in_process(command, broker.url if broker else "", topic, count)
    server, commands = counts_at(broker).since(before, count)
    waits = {name: 1e6 * found[name] for name in ("p50", "p99") if name in found}
    return Round(
        rate=found["count"] / found["seconds"],
        cpu=1e6 * found["cpu"] / found["count"],
        peak=found["peak"],
        server=server,
        commands=commands,
        **waits,
    )


def _ours(contest: str, contender: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.contest", contest, contender]


def _in_process(command: Sequence[str], *work: object) -> Any:
    """Return what a process of its own printed."""
    who = " ".join(command[2:])
    try:
        done = subprocess.run(
            [*command, *map(str, work)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        raise ContenderFailedError(f"{who}: did not end within {PATIENCE} s") from None
    if done.returncode:
        raise ContenderFailedError(f"{who}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


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
