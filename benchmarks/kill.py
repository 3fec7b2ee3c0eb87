"""What is never done: 300 orders on Redis Streams, one in ten fails once, the worker is replaced.

Each worker is run by the command of its own library, in an environment of its own: once with the
defaults, once with what the documentation offers against losses (`kill_workers/`). When a hundred
orders are done it is killed, or told to stop, and another one begins, as any supervisor does it.
What counts is what the handlers wrote down. What is not done after `PATIENCE` seconds in which
nothing happened is called never.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.peers import environment_of
from compose.fleet import create

ORDERS: Final = 300
ENDS_AT: Final = 100
"""How many are done when the first worker is to end."""
PATIENCE: Final = 45.0
"""More than any lease here, but the ten minutes that taskiq-redis waits by default."""
TO_STOP: Final = 20.0
"""Seconds that a worker has which was told to stop."""
WORKERS: Final = Path(__file__).parent / "kill_workers"
SOURCE: Final = str(Path(__file__).parent.parent / "src")


class Library(msgspec.Struct, frozen=True):
    """Who is measured, and how its worker is run."""

    module: str
    command: tuple[str, ...]
    with_care: tuple[str, ...] = ()
    peer: str | None = None
    """Among `benchmarks.peers`; None: it is here."""


LIBRARIES: Final[Mapping[str, Library]] = {
    "acked": Library("on_acked", ("-m", "acked", "run", "on_acked:app")),
    "FastStream": Library(
        "on_faststream",
        ("-m", "faststream", "run", "on_faststream:app"),
        peer="faststream",
    ),
    "taskiq-redis": Library(
        "on_taskiq",
        ("-m", "taskiq", "worker", "on_taskiq:broker", "--workers", "1"),
        ("--ack-type", "when_executed", "--wait-tasks-timeout", "10"),
        peer="taskiq_redis",
    ),
}
ENDINGS: Final = {"killed": signal.SIGKILL, "told to stop": signal.SIGTERM}


class Losses(msgspec.Struct):
    """What was never done, and what twice, by library, care and ending."""

    rows: dict[str, dict[str, int]]
    name: str = "kill"

    def show(self) -> str:
        """Return the report as lines for people."""
        width = max(map(len, self.rows))
        lines = [f"{f'kill ({ORDERS} orders)':<{width + 2}}  {'never done':>10}  {'twice':>6}"]
        lines += [
            f"  {name:<{width}}  {row['never']:>10}  {row['twice']:>6}"
            for name, row in self.rows.items()
        ]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write the report as JSON into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        (folder / f"{self.name}.json").write_bytes(text + b"\n")


def run(*, quick: bool) -> Losses:
    """Measure all; quick is with care only."""
    rows: dict[str, dict[str, int]] = {}
    for name, library in LIBRARIES.items():
        for care in (True,) if quick else (False, True):
            for ending, number in ENDINGS.items():
                done = measured(library, number, care=care)
                label = f"{name}, {'with care' if care else 'defaults'}, {ending}"
                never = ORDERS - len(done)
                rows[label] = {"never": never, "twice": sum(n > 1 for n in done.values())}
    return Losses(rows)


def measured(library: Library, ending: signal.Signals, *, care: bool) -> Counter[int]:
    """Return how often each order was done."""
    python = str(environment_of(library.peer).python()) if library.peer else sys.executable
    command = [python, *library.command, *(library.with_care if care else ())]
    with create("redis") as broker, tempfile.TemporaryDirectory(prefix="acked-kill-") as folder:
        path = Path(folder)
        environment = os.environ | {
            "KILL_URL": broker.url,
            "KILL_FOLDER": folder,
            "KILL_CAREFUL": str(int(care)),
            "PYTHONPATH": os.pathsep.join([str(WORKERS), *([] if library.peer else [SOURCE])]),
        }
        publishing = [python, f"{library.module}.py", str(ORDERS)]
        subprocess.run(publishing, cwd=WORKERS, env=environment, check=True)
        with _worker(command, environment, path) as worker:
            _wait(path, ENDS_AT)
            _end(worker, ending)
        with _worker(command, environment, path):
            _wait(path, ORDERS)
        return _done(path)


@contextmanager
def _worker(
    command: list[str], environment: Mapping[str, str], folder: Path
) -> Generator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("ab") as log:
        # A session of its own: what ends a container ends all that is in it.
        process = subprocess.Popen(
            command, cwd=WORKERS, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        _end(process, signal.SIGKILL)


def _end(worker: "subprocess.Popen[bytes]", ending: signal.Signals) -> None:
    if ending == signal.SIGTERM:
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(TO_STOP)
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _wait(folder: Path, count: int) -> None:
    """Wait until so many are done, or nothing has happened for long."""
    seen, since = -1, time.monotonic()
    while (found := len(_done(folder))) < count and time.monotonic() - since < PATIENCE:
        if found != seen:
            seen, since = found, time.monotonic()
        time.sleep(0.05)


def _done(folder: Path) -> Counter[int]:
    path = folder / "done"
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()
