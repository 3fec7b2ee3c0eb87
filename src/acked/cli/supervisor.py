"""Several processes of one app: what dies is replaced, what is told to stop is told on.

With `Changes` of the code all are started again at each, and what ends by itself waits for one:
code that does not run now may after the next.
"""

import math
import os
import signal
import subprocess
import sys
import time
from threading import Event
from types import FrameType
from typing import Final, Protocol

import click

from acked import Backoff
from acked.cli.running import SUPERVISED

__all__ = ("Changes", "Supervisor")

LOOK: Final = 0.1
"""Seconds between two looks at the children."""
STEADY: Final = 10.0
"""Seconds after which a child that dies is no sign of trouble at the start."""
MISTAKE: Final = 2
"""A child's status when what it was asked for cannot be: another one would end the same way."""


class Changes(Protocol):
    """What watches the code."""

    def take(self) -> str:
        """Return a file that has changed since the last call, or nothing."""
        ...


class Supervisor:
    """Keeps `count` processes running, each in a session of its own, until a signal."""

    def __init__(
        self, target: str, count: int, port: int | None, changes: Changes | None = None
    ) -> None:
        self._changes = changes
        self._target = target
        self._port = port
        self._slots = [Slot() for _ in range(count)]
        self._asked = Event()
        self._signals: list[int] = []

    def run(self) -> int:
        """Run until all have ended; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        status = 0
        try:
            while not self._signals and status != MISTAKE:
                status = max([self._look(number) for number in range(len(self._slots))])
                self._asked.wait(LOOK)
                if self._changes is not None and (file := self._changes.take()):
                    click.echo(f"{file} has changed: again", err=True)
                    self._start_again()
        finally:
            self._tell(signal.SIGTERM)
        statuses = [self._ended(slot) for slot in self._slots if slot.child is not None]
        if len(self._signals) > 1:
            return 128 + self._signals[-1]
        return status or max(statuses, default=0)

    def _look(self, number: int) -> int:
        """Start child `number` if it does not run; return `MISTAKE` if that is no use."""
        slot, now = self._slots[number], time.monotonic()
        if slot.child is not None and (status := slot.child.poll()) is not None:
            slot.close()
            if self._changes is not None:
                self._await_change(number, status)
                return 0
            if status == MISTAKE:
                return MISTAKE
            slot.deaths = 1 if now - slot.since > STEADY else slot.deaths + 1
            wait = BACKOFF.delay(slot.deaths)
            click.echo(f"process {number} ended ({status}); again in {wait:g} s", err=True)
            slot.since = now + wait
        if slot.child is None and now >= slot.since:
            slot.since = now
            slot.child = self._start(number)
        return 0

    def _await_change(self, number: int, status: int) -> None:
        slot = self._slots[number]
        if not slot.is_outdated:
            click.echo(f"process {number} ended ({status}); again when code changes", err=True)
        slot.since = 0.0 if slot.is_outdated else math.inf
        slot.is_outdated = False

    def _start_again(self) -> None:
        """Let every process drain and begin anew; one that drains already ends at once."""
        for slot in self._slots:
            slot.is_outdated = slot.child is not None
            slot.since = 0.0
        self._tell(signal.SIGTERM)

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        port = [] if self._port is None else ["--health-port", str(self._port + number)]
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "acked", "run", self._target, *port],
            stdin=subprocess.PIPE,
            env=os.environ | {SUPERVISED: "1"},
            start_new_session=True,  # Ctrl-C is told by us, once
        )

    def _ended(self, slot: "Slot") -> int:
        assert slot.child is not None  # noqa: S101 - the caller looked
        while slot.child.poll() is None:
            if len(self._signals) > 1:
                slot.child.kill()
            self._asked.wait(LOOK)
            self._asked.clear()
        status = slot.child.returncode
        slot.close()
        return status if status > 0 else bool(status)

    def _tell(self, number: int) -> None:
        for slot in self._slots:
            if slot.child is not None and slot.child.poll() is None:
                slot.child.send_signal(number)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        self._asked.set()


class Slot:
    """The place of one child."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.since: float = 0.0
        """When it was, or is to be, started."""
        self.deaths = 0
        self.is_outdated = False
        """Told to end, for the code has changed since it began."""

    def close(self) -> None:
        """Forget a child that has ended."""
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()
        self.child = None


BACKOFF: Final = Backoff(initial=0.1, factor=2.0, maximum=10.0, spread=0.0)
