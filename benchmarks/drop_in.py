"""What applications do with `Broadcast`: ours beside the original, the same program for both.

The original is broadcaster from PyPI with redis-py 7, on which it works, in an environment of its
own. Each figure is of a process of its own, the two in turns; a ratio is the median of the turns.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from benchmarks.report import Report, Round
from compose.fleet import create
from tests.compat.controls import SHIMS, SOURCE, interpreter

CHILD = Path(__file__).with_name("drop_in_child.py")
BROKERS = ("memory", "redis", "redis-stream", "postgres")
COUNTS: Mapping[str, int] = {
    "connect_publish_close": 60,
    "subscribe_leave": 400,
    "subscribe_leave_where_others_are": 2000,
    "publish_then_read": 1000,
    "publish_beside_a_reader": 2000,
    "publish_to_a_hundred": 20_000,
}
"""How often each is done over a broker."""
IN_MEMORY = 20
"""So many times as often within the process."""
ORIGINAL_FAILS = {("redis-stream", "subscribe_leave")}
"""Its listener ends once nobody is subscribed: it asks Redis to read from no stream."""


def measured(python: str, url: str, what: str, count: int, path: str) -> float:
    """Return the rate that a process of its own printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, str(CHILD), url, what, str(count)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=environment | {"PYTHONPATH": path},
    )
    return float(done.stdout)


def run(*, quick: bool) -> Report:
    """Measure both in turns, and return the medians."""
    rounds = 1 if quick else 5
    theirs = str(interpreter("broadcaster-redis7"))
    path = os.pathsep.join(map(str, (SHIMS, SOURCE)))
    report = Report("drop_in", "a second")
    for scheme in BROKERS:
        kind = scheme.partition("-")[0]
        with nullcontext() if kind == "memory" else create(kind) as broker:
            url = f"{scheme}://{broker.url.partition('://')[2] if broker else ''}"
            for what, count in COUNTS.items():
                if (scheme, what) in ORIGINAL_FAILS:
                    continue
                times = IN_MEMORY if broker is None else 1
                ours, original = (f"{who}, {scheme}, {what}" for who in ("compat", "broadcaster"))
                for _ in range(rounds):
                    rate = measured(theirs, url, what, count * times, "")
                    report.add(original, Round(rate))
                    rate = measured(sys.executable, url, what, count * times, path)
                    report.add(ours, Round(rate))
                report.ratio(f"{scheme}, {what}", ours, original)
    return report
