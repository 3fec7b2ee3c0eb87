"""What applications do with `Broadcast`: ours beside the original, the same program for both.

The original is broadcaster from PyPI with redis-py 7, on which it works, in an environment of its
own. Each figure is of a process of its own, the two in turns; a ratio is the median of the turns,
of wall time and of the process's own processor time. `subscribe_leave` compares two promises: the
original enters before the server has answered, ours when it has. So a lone round trip of the raw
client, which nobody who waits for an answer is faster than, is measured beside it.
"""

import json
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
    "subscribe_hear_leave": 400,
    "publish_then_read": 1000,
    "publish_beside_a_reader": 2000,
    "publish_to_a_hundred": 20_000,
}
"""How often each is done over a broker."""
IN_MEMORY = 20
"""So many times as often within the process."""
ORIGINAL_FAILS = {("redis-stream", "subscribe_leave"), ("redis-stream", "subscribe_hear_leave")}
"""Its listener ends once nobody is subscribed: it asks Redis to read from no stream."""
ROUND_TRIP = "round_trip"
ROUND_TRIPS = {"redis": 1000, "postgres": 1000}
"""How many lone round trips of the raw client are measured at a broker."""


def measured(python: str, url: str, what: str, count: int, path: str) -> Round:
    """Return what a process of its own measured."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, str(CHILD), url, what, str(count)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=environment | {"PYTHONPATH": path},
    )
    seconds, cpu = json.loads(done.stdout)
    return Round(count / seconds, cpu=1e6 * cpu / count)


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
                    report.add(original, measured(theirs, url, what, count * times, ""))
                    report.add(ours, measured(sys.executable, url, what, count * times, path))
                report.ratio(f"{scheme}, {what}", ours, original)
                report.cpu_ratio(f"{scheme}, {what}, by processor time", ours, original)
            if scheme in ROUND_TRIPS:
                lone = f"the raw client, {scheme}, {ROUND_TRIP}"
                for _ in range(rounds):
                    count = ROUND_TRIPS[scheme]
                    report.add(lone, measured(sys.executable, url, ROUND_TRIP, count, path))
                entering = f"compat, {scheme}, subscribe_leave"
                report.ratio(f"{scheme}, subscribe_leave / {ROUND_TRIP}", entering, lone)
    return report
