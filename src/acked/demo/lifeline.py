"""How a process of the demo learns that the demo has ended, however it ended.

Each holds the reading end of a pipe as its standard input, the demo the writing end. The
operating system closes that one when the demo closes it, ends, or is killed.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Final

__all__ = ("on_parents_end", "start_child")

STANDARD_INPUT: Final = 0
GRACE: Final = 10.0
"""Seconds to leave in order, before the process is ended where it stands."""


def start_child(
    *words: str, stderr: int | IO[bytes] = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start `python -m` with `words`, holding the writing end of its standard input."""
    return subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", *words],
        bufsize=0,  # what a child that ended did not read must not fail again when it is closed
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C is the demo's, which then ends its children
    )


def on_parents_end(leave: Callable[[], object]) -> None:
    """Call `leave` from a thread once the other end of standard input was closed."""

    def watch() -> None:
        # Nothing comes but the end. Not by sys.stdin: a daemon thread inside its lock would abort
        # the interpreter's exit.
        os.read(STANDARD_INPUT, 1)
        leave()
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
