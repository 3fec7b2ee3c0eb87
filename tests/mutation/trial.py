"""Run the tests of a room in a changed copy of the tree, as often as there are mutants."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compose.external import variable
from compose.fleet import create
from tests.mutation.rooms import Room

OPTIONS: Final = (
    *("-q", "--no-header", "--tb=line", "--show-capture=no", "-rfE"),
    *("-p", "no:cacheprovider", "-p", "tests.mutation.unshrunk"),
    # It counts instructions, which any change may change; and its layer is among the benchmarks.
    "--ignore=tests/core/test_cost.py",
)
SHARED: Final = ("kafka",)
"""Brokers slow to start, whose tests keep to topics and groups of their own, whatever breaks them off.

Those of Redis and Postgres change settings and flush; they and Mosquitto start in a second.
"""
LEFT_OUT: Final = "not program and not (kafka and cluster)"
"""Programs are told by processes of their own; three Kafkas for each mutant are more than there is room for."""
MOST_CHANCES: Final = 3
"""Tests that failed once, and not alone: on a busy machine that tells nothing of the mutant."""
HANGS: Final = 25
"""Seconds for one test; twice as much where it may wait for a server."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """How the tests of a room are run, and how long that may take."""

    room: Room
    servers: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    """Tests that fail without a mutation."""
    patience: float = 1800.0
    """Seconds for one run."""

    @classmethod
    def of(cls, room: Room, tree: Path, servers: Mapping[str, str]) -> "Trial":
        """See what fails in an unchanged tree, and how long it takes."""
        began = time.monotonic()
        run = cls(room, servers)._run(tree)
        took = time.monotonic() - began
        failed = tuple(dict.fromkeys(_FAILED.findall(run.stdout)))
        if run.returncode not in (0, 1) or (run.returncode and not failed):
            raise SystemExit(f"{room.name}: no test was run:\n{run.stdout}{run.stderr}")
        for test in failed:
            print(f"left out, it fails without a mutation: {test}")
        print(f"{room.name}: {took:.0f} s without a mutation", flush=True)
        return cls(room, servers, failed, max(60.0, 3 * took))

    def killer(self, tree: Path) -> str:
        """Return which test noticed what was changed in `tree`, twice, or nothing."""
        chance: list[str] = []
        while len(chance) < MOST_CHANCES:
            try:
                found = self._failed(tree, *(f"--deselect={test}" for test in chance))
            except subprocess.TimeoutExpired:
                return "timeout"
            if "::" not in found or self._fails_alone(found, tree):
                return found[:160]
            chance.append(found)
        return f"{MOST_CHANCES} tests, each once"

    def _failed(self, tree: Path, *options: str) -> str:
        run = self._run(tree, "-x", *options)
        if run.returncode == -signal.SIGINT or "KeyboardInterrupt" in run.stdout:
            raise KeyboardInterrupt  # it tells nothing of the mutant
        found = _FAILED.findall(run.stdout)
        return found[0] if found else f"status {run.returncode}" if run.returncode else ""

    def _fails_alone(self, test: str, tree: Path) -> bool:
        return self._run(tree, "-x", tests=(test,)).returncode != 0

    def _run(
        self, tree: Path, *options: str, tests: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONHASHSEED": "0"}
        marks = "not trio" if self.room.has_brokers else "not trio and not broker"
        hangs = HANGS * 2 if self.room.has_brokers else HANGS
        return subprocess.run(
            [
                *(sys.executable, "-B", "-m", "pytest", *(tests or self.room.tests)),
                *(*OPTIONS, "-m", marks, "-k", LEFT_OUT, f"--timeout={hangs}", *options),
                *(f"--deselect={test}" for test in self.left_out),
            ],
            cwd=tree,
            env={**environment, **self.servers},
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )


@contextmanager
def shared_broker(room: Room) -> Iterator[dict[str, str]]:
    """Start the room's broker where that is slow; yield the variable that names it to the tests."""
    if room.broker not in SHARED:
        yield {}
        return
    broker = create(room.broker)
    broker.start()
    try:
        yield {variable(room.broker): broker.url}
    finally:
        broker.close()
