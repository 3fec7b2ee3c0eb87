"""`python -m benchmarks [NAME ...] [--quick] [--json FOLDER]`: see README.md beside this.

`table` runs all that the table needs, and writes the result into benchmarks/results.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from benchmarks import bloat, drop_in, fan_out, idle, kill, sharing
from benchmarks.contest import contests
from benchmarks.report import Report
from benchmarks.results import FOLDER, Result
from benchmarks.table import CONTESTS

Run: TypeAlias = Callable[..., Report | kill.Losses]
OTHERS: dict[str, Run] = {
    "drop_in": drop_in.run,
    fan_out.NAME: fan_out.run,
    "idle": idle.run,
    "kill": kill.run,
    "sharing": sharing.run,
}
TABLE = "table"
HOUR = "bloat"
NAMES = (
    *("engine", "memory", "redis_streams", "redis_publish", "redis_pubsub", "kafka", "mqtt"),
    *("postgres_notify", "postgres_queue", "pace", *OTHERS),
)


def main() -> int:
    """Run benchmarks, one after the other, and print what each came to."""
    asked = _parser().parse_args()
    if TABLE in asked.names:
        result = Result.begun(is_quick=asked.quick, note=asked.note)
        folder = asked.json or FOLDER
        names = [name for name in CONTESTS if asked.peers or name not in OTHERS]
        fill(result, names, folder, peers=asked.peers, rounds=asked.rounds)
        print(result.page())
        return bool(result.failed)
    for name in asked.names or NAMES:
        for run in _runs(name, asked):
            report = run(quick=asked.quick)
            print(report.show(), flush=True)
            if asked.json is not None:
                report.write(asked.json)
    return 0


def fill(
    result: Result, names: Sequence[str], folder: Path, *, peers: bool, rounds: int | None = None
) -> None:
    """Run the contests called so; what fails is noted, and the next has its turn.

    It is written into `folder` after each: what is interrupted leaves what it has.
    """
    for name in names:
        try:
            report = _run(name, peers=peers, rounds=rounds)(quick=result.is_quick)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the rest goes on
            result.failed[name] = _last_line(error)
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
        else:
            result.reports[name] = report
            print(report.show(), file=sys.stderr, flush=True)
        result.write(folder)


def _run(name: str, *, peers: bool, rounds: int | None) -> Callable[..., Report]:
    if name == fan_out.NAME:
        return fan_out.run
    contest = next(one for one in contests(name.partition(".")[0]) if one.name == name)
    return partial(contest.run, peers=peers, rounds=rounds)


def _last_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no words').splitlines()[-1]}"


def _runs(name: str, asked: argparse.Namespace) -> Sequence[Run]:
    if name == HOUR:
        return [partial(bloat.run, minutes=asked.minutes, folder=asked.json)]
    if name in OTHERS:
        return [OTHERS[name]]
    return [partial(one.run, peers=asked.peers, rounds=asked.rounds) for one in contests(name)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], TABLE, HOUR, *NAMES], metavar="NAME")
    parser.add_argument("--minutes", type=float, default=60.0, help=f"how long `{HOUR}` takes")
    parser.add_argument("--quick", action="store_true", help="fewer messages, fewer rounds")
    parser.add_argument("--rounds", type=int, help="so many of each, instead of 3 or more")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write the figures there too")
    parser.add_argument(
        "--without-peers", dest="peers", action="store_false", help="install nothing"
    )
    parser.add_argument("--note", default="", help="words for the head of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
