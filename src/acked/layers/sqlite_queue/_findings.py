"""What `check()` says of a queue file."""

import sqlite3
import stat
from collections.abc import Sequence
from typing import NamedTuple

from acked.layers.sqlite_queue._file import Durability, QueueFile
from acked.types import Finding, Severity

__all__ = ("FileFacts", "findings", "read_facts")


class FileFacts(NamedTuple):
    """What was read from the file and of it."""

    mode: int
    shrinks: bool
    free_bytes: int


def read_facts(file: QueueFile) -> FileFacts:
    """Read the facts. Blocks."""
    with file.transaction(durable=False) as db:
        (vacuum,) = db.execute("PRAGMA auto_vacuum").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    return FileFacts(stat.S_IMODE(file.path.stat().st_mode), vacuum != 0, free * size)


def findings(facts: FileFacts, *, durability: Durability) -> Sequence[Finding]:
    """Return what follows from `facts`."""
    return [
        _persistence(durability),
        Finding(
            "server_version",
            value=sqlite3.sqlite_version,
            severity=Severity.OK,
            message="the SQLite of this Python",
        ),
        _mode(facts.mode),
        _free(facts),
    ]


def _persistence(durability: Durability) -> Finding:
    place = "keep the file on a local disk, SQLite locks no network share"
    if durability == "full":
        return Finding(
            "persistence",
            value=True,
            severity=Severity.OK,
            message="each publish and each ack is on disk when it returns, as far as the disk "
            f"tells the truth; {place}",
        )
    return Finding(
        "persistence",
        value=True,
        severity=Severity.NOTICE,
        message="each publish and each ack survives the end of any process, but a loss of power "
        f"may undo the last ones (durability=normal; full is the default); {place}",
    )


def _mode(mode: int) -> Finding:
    others = mode & (stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP)
    return Finding(
        "file_mode",
        value=f"{mode:04o}",
        severity=Severity.NOTICE if others else Severity.OK,
        message="other accounts may read what is in the file, or change it; chmod 600, also for "
        "the files beside it that end in -wal and -shm, unless they are meant to"
        if others
        else "the file is its owner's alone",
    )


def _free(facts: FileFacts) -> Finding:
    return Finding(
        "free_bytes",
        value=facts.free_bytes,
        severity=Severity.OK if facts.shrinks else Severity.NOTICE,
        message="bytes in the file that hold nothing, for what comes next"
        if facts.shrinks
        else "bytes that hold nothing; the file was made by an earlier acked and never gets "
        "smaller: while nobody uses it, run sqlite3 FILE 'PRAGMA auto_vacuum=2; VACUUM'",
    )
