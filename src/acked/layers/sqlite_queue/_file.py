"""One connection to a queue file, used by one thread at a time; everything here blocks.

SQLite has one writer at a time anyway, so one connection for each layer loses nothing. While
another process writes, we wait in short naps of our own, for two reasons: SQLite's own waiting
grows to 100 ms a turn and cannot be cancelled.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

from acked.errors import ConnectionLost, LayerError
from acked.layers.sqlite_queue import _sql as sql

__all__ = ("Durability", "QueueFile", "Version", "primary_code")

Durability: TypeAlias = Literal["full", "normal"]
"""Whether what was accepted survives a loss of power, or only the end of any process."""

Version: TypeAlias = tuple[int, int, int]
"""Differs from an earlier one if anybody, ourselves included, has changed the file since."""

WAL_BYTES: Final = 64 * 1024 * 1024
"""To what the write-ahead log is cut after it grew larger."""

FIRST_NAP: Final = 0.0005
LONGEST_NAP: Final = 0.008

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_WORDS: Final = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; create its directory and let this user write there",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; name another path or move that file away",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it, or save the rest with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_READONLY: "is read-only; let this user write the file and its directory",
    sqlite3.SQLITE_PERM: "is not ours to use; let this user write the file and its directory",
    sqlite3.SQLITE_FULL: "has no room: the disk is full; free some, nothing was changed",
    sqlite3.SQLITE_IOERR: "could not be read or written: look after the disk and the system's log",
}


class QueueFile:
    """Opens the file, makes the tables, runs transactions, translates what SQLite raises.

    `pause` is called before each nap while another process writes; what it raises ends the wait.
    Used from any thread, by one at a time: the lock makes sure of it.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        busy_timeout: float,
        pause: Callable[[], None],
    ) -> None:
        self.path: Final = path
        self._durable: Final = "FULL" if durability == "full" else "NORMAL"
        self._busy_timeout = busy_timeout
        self._pause = pause
        self._lock = threading.Lock()
        self._wanted = False
        self._pid = 0
        self._db: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._generation = 0
        self._synchronous = ""

    def open(self) -> None:
        """Connect, and make the tables if the file is new."""
        with self._lock, self._translating():
            self._wanted, self._pid = True, os.getpid()
            self._connect()

    def close(self) -> None:
        """Disconnect; errors of closing are not raised."""
        with self._lock:
            self._wanted = False
            self._disconnect()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Generator[sqlite3.Connection, None, None]:
        """Write alone: committed on leaving, rolled back and nothing changed if that raises.

        With `durable` off, a loss of power may undo it; the end of a process never does.
        """
        self._check_process()
        with self._lock, self._translating():
            db = self._connected()
            self._begin(db, self._durable if durable else "NORMAL")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._roll_back(db)
                raise

    def version(self) -> Version:
        """Return the version as of now; costs no access to the disk."""
        self._check_process()
        with self._lock, self._translating():
            return self.version_within(self._connected())

    def version_within(self, db: sqlite3.Connection) -> Version:
        """Return the version as of the transaction that is open."""
        (others,) = self._patiently(db, "PRAGMA data_version").fetchone()
        return (self._generation, others, db.total_changes)

    def _check_process(self) -> None:
        # Before the lock: after a fork it may be held by a thread that this process has not got.
        if self._wanted and self._pid != os.getpid():
            raise LayerError(
                f"queue file {self.path} was opened before this process was forked; open a layer "
                "of its own in each process"
            )

    def _connected(self) -> sqlite3.Connection:
        if not self._wanted:
            raise LayerError(f"queue file {self.path} is not open; use it within `async with`")
        if self._db is not None and self._identity != self._identity_now():
            self._disconnect()
            raise ConnectionLost(
                f"queue file {self.path} was deleted or replaced while it was in use, and what "
                "it kept is gone; the next try uses the file that is there then"
            )
        return self._db or self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        self._identity = self._identity_now()
        self._generation += 1
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Check that the file is ours before anything in it is changed."""
        is_new = self._is_new(db)
        (mode,) = self._patiently(db, "PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise LayerError(
                f"queue file {self.path} cannot have a write-ahead log here; put it on a local disk"
            )
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        self._synchronous = ""
        if is_new:
            self._create(db)

    def _is_new(self, db: sqlite3.Connection) -> bool:
        (application,) = self._patiently(db, "PRAGMA application_id").fetchone()
        (version,) = self._patiently(db, "PRAGMA user_version").fetchone()
        (tables,) = self._patiently(db, "SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            return True
        if application != sql.APPLICATION_ID:
            raise LayerError(
                f"{self.path} is the SQLite database of another program; name another path"
            )
        if version > sql.SCHEMA_VERSION:
            raise LayerError(
                f"queue file {self.path} was made by a later acked (its version is {version}, this "
                f"one knows up to {sql.SCHEMA_VERSION}); upgrade acked or name another path"
            )
        return False

    def _create(self, db: sqlite3.Connection) -> None:
        self._begin(db, self._durable)
        try:
            if self._is_new(db):  # Race: another process was faster.
                for statement in sql.SCHEMA:
                    db.execute(statement)
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise

    def _begin(self, db: sqlite3.Connection, synchronous: str) -> None:
        if self._synchronous != synchronous:
            db.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self._patiently(db, "BEGIN IMMEDIATE")

    def _roll_back(self, db: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        if db.in_transaction:
            self._disconnect()  # the next try begins with a connection that is whole

    def _patiently(self, db: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
        """Execute `statement`, waiting while another process writes."""
        deadline = time.monotonic() + self._busy_timeout
        nap = FIRST_NAP
        while True:
            try:
                return db.execute(statement)
            except sqlite3.OperationalError as error:
                if primary_code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise
            self._pause()
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)

    def _identity_now(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    @contextmanager
    def _translating(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> LayerError:
        code = primary_code(error)
        if code in _BUSY:
            return ConnectionLost(
                f"queue file {self.path} was locked by another process for {self._busy_timeout:g} "
                "seconds; look for one that is stopped in the midst of a transaction"
            )
        words = _WORDS.get(code, f"is refused by SQLite: {error}")
        return LayerError(f"queue file {self.path} {words}")


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code of `error`; 0 where there is none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
