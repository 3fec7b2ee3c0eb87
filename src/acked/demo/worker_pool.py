"""The worker processes, seen from the demo that starts and kills them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec

from acked.demo.failures import Broken
from acked.demo.ledger import Entry, LedgerReader
from acked.demo.lifeline import start_child
from acked.demo.worker import POISONED, Assignment

__all__ = ("WorkerPool",)

TURN: Final = 0.01
"""Seconds between two looks at whether a process has ended."""
LEAVING: Final = 15.0
"""Seconds that the workers have to leave the group in order."""


class WorkerProcess:
    """One process, its ledger, and what it said when it failed."""

    def __init__(self, folder: Path, number: int, assignment: Assignment) -> None:
        self.name: Final = f"worker {number}"
        self._said = folder / f"worker-{number}.err"
        ledger = folder / f"worker-{number}.ledger"
        self.ledger: Final = LedgerReader(ledger)
        try:
            with self._said.open("wb") as errors:
                self.process: Final = start_child("acked.demo.worker", stderr=errors)
        except BaseException:
            self.ledger.close()
            raise
        # By standard input: a password in a URL must not show in the list of processes.
        own = msgspec.structs.replace(assignment, ledger=str(ledger))
        self._write(msgspec.json.encode(own) + b"\n")

    def dismiss(self) -> None:
        """Let it leave in order."""
        stdin = self.process.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()

    async def ended(self) -> None:
        """Wait until the process has ended."""
        while self.process.poll() is None:  # noqa: ASYNC110 - nobody but the system knows
            await anyio.sleep(TURN)

    def end(self) -> None:
        """End it, if it still runs, and let go of all that belongs to it."""
        self.process.kill()
        self.process.wait()
        self.dismiss()
        self.ledger.close()

    def last_words(self) -> str:
        """Return the last line it wrote to standard error."""
        lines = self._said.read_text(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return said[-1] if said else f"ended with status {self.process.returncode}"

    def _write(self, line: bytes) -> None:
        stdin = self.process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):  # ended before it read: `WorkerPool.check` tells
            stdin.write(line)


class WorkerPool:
    """The workers of one run, each known by its place in it. Leaving ends those that still run.

    Who was poisoned is replaced, as by any supervisor; who was killed is not.
    """

    def __init__(self, size: int, folder: Path, assignment: Assignment) -> None:
        self._folder = folder
        self._assignment = assignment
        self._all: list[WorkerProcess] = []
        self._dead: set[int] = set()
        try:
            for _ in range(size):
                self._start()
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def new_entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield what the workers wrote since the last call, with the index of the worker."""
        for index, worker in enumerate(self._all):
            for entry in worker.ledger.new_entries():
                yield index, entry

    def kill(self, index: int) -> tuple[str, int]:
        """End one with SIGKILL; return who it was, and when, by the ledgers' clock."""
        self._dead.add(index)
        victim = self._all[index]
        moment = time.monotonic_ns()
        victim.process.kill()
        victim.process.wait()
        return f"{victim.name} (pid {victim.process.pid})", moment

    @property
    def living(self) -> Sequence[int]:
        """Return the places of those that were neither killed nor poisoned."""
        return [index for index in range(len(self._all)) if index not in self._dead]

    def replace_poisoned(self) -> Iterator[str]:
        """Start a worker for each that was poisoned, and yield words about it.

        Raises `Broken` if one has ended in another way that nobody killed.
        """
        for index in self.living:
            worker = self._all[index]
            if worker.process.poll() is None:
                continue
            if worker.last_words() != POISONED:
                raise Broken(f"{worker.name} failed: {worker.last_words()}")
            self._dead.add(index)
            yield f"{worker.name} was {POISONED}; {self._start()} takes its place"

    async def leave(self) -> None:
        """Let the workers leave in order; raise `Broken` if one of them cannot."""
        for worker in self._rest:
            worker.dismiss()
        with anyio.move_on_after(LEAVING):
            for worker in self._rest:
                await worker.ended()
        for worker in self._rest:
            if worker.process.poll() != 0 and worker.last_words() != POISONED:
                raise Broken(f"{worker.name} failed on leaving: {worker.last_words()}")

    @property
    def _rest(self) -> list[WorkerProcess]:
        return [self._all[index] for index in self.living]

    def _start(self) -> str:
        """Start one more worker, and return its name."""
        worker = WorkerProcess(self._folder, len(self._all) + 1, self._assignment)
        self._all.append(worker)
        return worker.name

    def _end(self) -> None:
        for worker in self._all:
            worker.end()
