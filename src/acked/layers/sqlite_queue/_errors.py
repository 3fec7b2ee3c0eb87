"""What SQLite raises, in our words: what was refused, and what to do."""

import sqlite3
from pathlib import Path
from typing import Final

from acked.errors import LayerError

__all__ = ("is_busy", "is_locked", "may_be_written", "translated")

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_MAY_PASS: Final = (
    *_BUSY,
    sqlite3.SQLITE_CANTOPEN,  # no more open files, perhaps
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
)
"""What somebody can put right while we wait."""

_WORDS: Final = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; create its directory and let this user write there",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; name another path or move that file away",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it, or save the rest with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_READONLY: "is read-only; let this user write the file and its directory",
    sqlite3.SQLITE_PERM: "is not ours to use; let this user write the file and its directory",
    sqlite3.SQLITE_FULL: "has no room: the disk is full; free some, nothing was changed",
    sqlite3.SQLITE_IOERR: "could not be read or written: look after the disk and the system's log",
}


def translated(error: sqlite3.Error, path: Path, busy_timeout: float) -> LayerError:
    """Return what `error` means for who uses the file `path`."""
    code = _primary_code(error)
    if code in _BUSY:
        words = (
            f"was locked by another process for {busy_timeout:g} seconds; look for one that is "
            "stopped in the midst of a transaction"
        )
    else:
        words = _WORDS.get(code, f"is refused by SQLite: {error}")
    return LayerError(f"queue file {path} {words}", may_pass=code in _MAY_PASS)


def is_locked(error: BaseException | None) -> bool:
    """Say whether SQLite raised `error` because another process writes."""
    return _primary_code(error) in _BUSY


def is_busy(error: LayerError) -> bool:
    """Say whether the file was locked by another process: then nothing of ours was changed."""
    return is_locked(error.__cause__)


def may_be_written(error: LayerError) -> bool:
    """Say whether what was to be committed may be in the file all the same."""
    return _primary_code(error.__cause__) == sqlite3.SQLITE_IOERR


def _primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code of `error`; 0 where there is none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
