"""Environments of their own for programs that are not ours: made when first asked for, and kept.

What is installed there is no dependency of the project, and nothing of the project is there.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

__all__ = ("PATIENCE", "THEN", "Environment", "EnvironmentUnavailableError")

THEN: Final = "then"
"""Between what pip installs first and what it installs over that."""
PATIENCE: Final = 300.0
"""Seconds that an installation may take."""


class EnvironmentUnavailableError(Exception):
    """It cannot be made here, mostly for want of a network; the message has pip's last words."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder` with what pip is asked for, and nothing else."""

    folder: Path
    wanted: tuple[str, ...]

    @property
    def is_made(self) -> bool:
        """Whether it is there, by this Python, with what is wanted today."""
        return self._mark.exists() and self._mark.read_text() == self._words

    def python(self) -> Path:
        """Return its interpreter; make it first where it is not there.

        Raises:
            EnvironmentUnavailableError: pip or venv failed.

        """
        with self._locked():
            if not self.is_made:
                self._make()
        return self.folder / "bin" / "python"

    @property
    def _mark(self) -> Path:
        return self.folder / "installed"

    @property
    def _words(self) -> str:
        return "\n".join((sys.version, *self.wanted))

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Let one process at a time make it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(self.folder)])
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        for is_break, step in groupby(self.wanted, THEN.__eq__):
            if not is_break:
                _run([*pip, "--disable-pip-version-check", *step])
        self._mark.write_text(self._words)


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentUnavailableError(f"pip did not end within {PATIENCE:g} s") from None
    if done.returncode:
        words = (done.stderr.strip() or "no reason given").splitlines()
        raise EnvironmentUnavailableError(words[-1])
