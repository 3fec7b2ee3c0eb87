"""One message to 10,000 subscribers in one process on one Redis connection, beside broadcaster.

Websockets without the websocket: each subscriber is a task that reads. Measured are the memory of
each subscriber, and the time from publishing until the last of them has the message, also in CPU
time, which is steadier on a shared machine. broadcaster is the original from PyPI with redis-py 7,
on which it works, in an environment of its own. It has queues without a bound; a subscription of
acked has one, counts what it misses, and gives typed messages.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Round
from compose.fleet import create
from tests.compat.controls import interpreter

NAME = "fan_out"
CHILD = Path(__file__).with_name("fan_out_child.py")


def measured(python: str, contender: str, url: str, subscribers: int, rounds: int) -> Any:
    """Return what a process of its own printed."""
    command = [python, str(CHILD), contender, url, str(subscribers), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout)


def run(*, quick: bool) -> Report:
    """Measure all three, one process after the other, and return the medians of each."""
    subscribers, rounds, turns = (1_000, 5, 1) if quick else (10_000, 10, 3)
    ours, theirs = sys.executable, str(interpreter("broadcaster-redis7"))
    pythons = {"acked": ours, "compat": ours, "broadcaster": theirs}
    report = Report(NAME, f"to {subscribers:,} subscribers, as named")
    with create("redis") as broker:
        for _ in range(turns):
            for contender, python in pythons.items():
                found = measured(python, contender, broker.url, subscribers, rounds)
                for what, rate in {
                    "messages/s": subscribers / min(found["fan_out"]),
                    "messages/s of CPU": subscribers / min(found["fan_out_cpu"]),
                    "subscriptions/s": subscribers / found["subscribing_seconds"],
                    "bytes for each": found["bytes_each"],
                }.items():
                    report.add(f"{contender}, {what}", Round(rate))
    for what in ("messages/s", "messages/s of CPU", "subscriptions/s", "bytes for each"):
        for contender in ("acked", "compat"):
            names = f"{contender}, {what}", f"broadcaster, {what}"
            report.ratio(f"{contender} / broadcaster, {what}", *names)
    return report
