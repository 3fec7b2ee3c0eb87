"""What a user would pick instead, each in an environment of its own: its dependencies are not ours.

    python -m benchmarks.peers                 make them, in `.venv-peers` or $ACKED_PEERS
    python -m benchmarks.peers procrastinate   one of them

A peer that is not installed is left out of a benchmark, with a word. Its program is a module of
this package, which runs in the peer's environment and imports of ours `benchmarks.clock` alone.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ("FOLDER", "REQUIRED", "ROOT", "Peer")

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(os.environ.get("ACKED_PEERS") or ROOT / ".venv-peers")

REQUIRED: Final = {
    "procrastinate": ("procrastinate", "psycopg[binary]"),
    "pgqueuer": ("pgqueuer", "asyncpg"),
    "broadcaster": ("broadcaster",),
}
"""What is installed for each."""


@dataclass(frozen=True)
class Peer:
    """A contender in an environment of its own; `way` is one of those that its program knows."""

    name: str
    way: str

    @property
    def python(self) -> Path:
        """Return the interpreter of its environment."""
        return FOLDER / self.name / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        """Say whether it can run here."""
        return self.python.exists()

    def command(self) -> list[str]:
        """Return how it is run, from `ROOT`, before what it is to do."""
        return [str(self.python), "-m", f"benchmarks.peers.on_{self.name}", self.way]
