"""Runs `acked` as a user does, in a process of its own, and looks at what it leaves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

KEYS = [
    *("accepted", "acked", "redelivered", "duplicates", "lost", "recovery_seconds"),
    *("dead_letters", "innocent_dead_letters"),
]


class Said(msgspec.Struct):
    """The last line of `--json`."""

    accepted: int
    acked: int
    redelivered: int
    duplicates: int
    lost: int
    recovery_seconds: float | None
    dead_letters: int
    innocent_dead_letters: int


@contextmanager
def started(*words: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m acked` with its temporary files in a folder of the test."""
    with subprocess.Popen(
        [sys.executable, "-m", "acked", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(*words: str, temporary: Path) -> tuple[int, str, str]:
    """Run it to its end; return its status, standard output and standard error."""
    with started(*words, temporary=temporary) as process:
        out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def said(out: str) -> Said:
    """Return the result in the last line, checking its keys."""
    last = out.splitlines()[-1]
    assert list(json.loads(last)) == KEYS
    return msgspec.json.decode(last, type=Said)


def helpers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that the demo started: workers, and a server with its guardian."""
    return psutil.Process(process.pid).children(recursive=True)
