"""What a worker process did, in a file of its own: lines that outlive it.

The demo's numbers come from these files and from nothing that the engine counts. A line is
written by one `write` of the operating system, without a buffer in between: SIGKILL takes none
back, and leaves no half of one.

```text
began 17 1 90210000000    order 17 was handed out, at attempt 1
asked 17 1 90235000000    its work is done, `ack()` is called now
acked 17 1 90238000000    `ack()` has returned; or
late 17 1 90238000000     `ack()` has raised that the order is not ours any more
```

The last number is when, in nanoseconds of a clock that all processes of the machine share.
"""

import enum
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

__all__ = ("Entry", "Ledger", "LedgerReader", "Stage")


class Stage(enum.StrEnum):
    """How far a worker has come with an order."""

    BEGAN = "began"
    ASKED = "asked"
    ACKED = "acked"
    TOO_LATE = "late"


class Entry(msgspec.Struct, frozen=True):
    """One line of a ledger."""

    stage: Stage
    number: int
    attempt: int
    moment: int


class Ledger:
    """The worker's side: writes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def note(self, stage: Stage, number: int, attempt: int) -> None:
        """Write one line; when this returns it is out of the process."""
        self._file.write(f"{stage} {number} {attempt} {time.monotonic_ns()}\n".encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LedgerReader:
    """The other side: reads what was written since it was last asked."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb", buffering=0)
        self._rest = b""

    def new_entries(self) -> Iterator[Entry]:
        """Yield the lines that are new, in their order."""
        *lines, self._rest = (self._rest + self._file.readall()).split(b"\n")
        for line in lines:
            stage, number, attempt, moment = line.decode().split()
            yield Entry(Stage(stage), int(number), int(attempt), int(moment))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
