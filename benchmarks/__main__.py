"""`python -m benchmarks [NAME ...] [--quick] [--json FOLDER]`: see README.md beside this."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from benchmarks import bloat, drop_in, fan_out, idle, kill
from benchmarks.contest import contests
from benchmarks.report import Report

Run: TypeAlias = Callable[..., Report | kill.Losses]
OTHERS: dict[str, Run] = {
    "drop_in": drop_in.run,
    "fan_out": fan_out.run,
    "idle": idle.run,
    "kill": kill.run,
}
NAMES = (
    *("engine", "memory", "redis_streams", "redis_pubsub", "kafka", "mqtt"),
    *("postgres_notify", "postgres_queue", *OTHERS),
)


def main() -> None:
    """Run benchmarks, one after the other, and print what each came to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES, "bloat"], metavar="NAME")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long `bloat` takes")
    parser.add_argument("--quick", action="store_true", help="fewer messages, fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write the figures there too")
    asked = parser.parse_args()
    hour = partial(bloat.run, minutes=asked.minutes, folder=asked.json)
    others: dict[str, Run] = {**OTHERS, "bloat": hour}
    for name in asked.names or NAMES:
        runs: list[Run] = [others[name]] if name in others else [one.run for one in contests(name)]
        for run in runs:
            report = run(quick=asked.quick)
            print(report.show(), flush=True)
            if asked.json is not None:
                report.write(asked.json)


if __name__ == "__main__":
    main()
