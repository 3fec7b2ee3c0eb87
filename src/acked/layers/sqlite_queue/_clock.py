"""The clock of a queue file, which all processes of the machine read alike.

Leases and delays end by it, so it must neither stand still nor jump when somebody sets the
machine's clock: by an hour back, and for an hour nothing would come free. So the first process
since the machine was started writes into the file what the wall clock said then, and from there on
everybody counts the seconds since the start, those in which the machine slept too. Across a restart
the wall clock carries over.

Where a machine does not tell its starts apart (no Linux), the wall clock is all there is.
"""

import time
from pathlib import Path
from typing import Final

__all__ = ("FileClock",)

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class FileClock:
    """Seconds since the epoch, as the file counts them, once `set` was called."""

    def __init__(self) -> None:
        self.boot: Final = _boot()
        self._base = 0.0

    def __repr__(self) -> str:
        return f"<FileClock at {self.time():.3f}>"

    def new_base(self) -> float:
        """Return what the first process since the start of the machine writes into the file."""
        return time.time() - _since_start()

    def set(self, base: float) -> None:
        """Count from what the file says."""
        self._base = base

    def time(self) -> float:
        """Return the seconds that leases and delays are measured by."""
        return self._base + _since_start() if self.boot else time.time()

    def awake(self) -> float:
        """Return the seconds that signs of life are measured by: nobody dies in its sleep."""
        return time.monotonic()


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip() if hasattr(time, "CLOCK_BOOTTIME") else ""
    except OSError:
        return ""


def _since_start() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
