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
from acked.layers.sqlite_queue._clock import FileClock
from acked.layers.sqlite_queue._errors import is_locked, translated

__all__ = ("OF_THE_OWNER", "Durability", "QueueFile", "Version")

Durability: TypeAlias = Literal["full", "normal"]
"""Whether what was accepted survives a loss of power, or only the end of any process."""

Version: TypeAlias = tuple[int, int, int]
"""Differs from an earlier one if anybody, ourselves included, has changed the file since."""

WAL_BYTES: Final = 64 * 1024 * 1024
"""To what the write-ahead log is cut after it grew larger."""

CACHE_BYTES: Final = 16 * 1024 * 1024
"""How much of the file is kept in memory at most: what many topics have is scattered over it."""

SPARE_PAGES: Final = 1024
"""How many free pages a file keeps for what comes next; with a fourth of it free, it shrinks."""

PAGES_AT_ONCE: Final = 1024
"""How many pages are given back to the disk at once, while others wait."""

FIRST_NAP: Final = 0.0005
LONGEST_NAP: Final = 0.008

OF_THE_OWNER: Final = 0o600
"""Who may use a file that we make: messages are nobody else's business."""


class QueueFile:
    """Opens the file, makes the tables, runs transactions, translates what SQLite raises.

    `pause` is called before each nap while another process writes; what it raises ends the wait.
    `clock` is set by what the file says. `mode` is that of a file which is made.
    Used from any thread, by one at a time: the lock makes sure of it.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        busy_timeout: float,
        pause: Callable[[], None],
        clock: FileClock | None = None,
        mode: int = OF_THE_OWNER,
    ) -> None:
        self.path: Final = path
        self.clock: Final = clock or FileClock()
        self._mode = mode
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
        self._no_news = 0

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
            with self._writing(db, self._durable if durable else "NORMAL"):
                yield db

    def shrink(self) -> None:
        """Give free pages back to the disk, if there are many: some of them at a time.

        Nothing happens in a file that was made before there was this: see `check()`.
        """
        with self._lock, suppress(sqlite3.Error):  # busy: another time
            db = self._db
            if db is None or db.in_transaction:
                return
            (free,) = db.execute("PRAGMA freelist_count").fetchone()
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            if free > max(SPARE_PAGES, pages // 4):
                # Not `execute`: it takes one step, which is one page.
                db.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")

    def version(self) -> Version:
        """Return the version as of now; costs no access to the disk."""
        self._check_process()
        with self._lock, self._translating():
            return self.version_within(self._connected())

    def version_within(self, db: sqlite3.Connection) -> Version:
        """Return the version as of the transaction that is open."""
        (others,) = self._patiently(db, "PRAGMA data_version").fetchone()
        return (self._generation, others, db.total_changes - self._no_news)

    def count_no_news(self, changes: int) -> None:
        """Take so many changes, made within a transaction, for no other version."""
        self._no_news += changes

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
        with suppress(OSError):  # it is there, or SQLite will say why it cannot be
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, self._mode))
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
        is_new = self._version_of(db) == 0
        if is_new:
            self._patiently(db, "PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written
        (mode,) = self._patiently(db, "PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise LayerError(
                f"queue file {self.path} cannot have a write-ahead log here; put it on a local disk"
            )
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.execute(f"PRAGMA cache_size = -{CACHE_BYTES // 1024}")
        self._synchronous = ""
        if self._version_of(db) < sql.SCHEMA_VERSION:
            self._upgrade(db)
        self._read_clock(db)

    def _version_of(self, db: sqlite3.Connection) -> int:
        """Return the version of the tables, 0 before there are any; raise if it is not ours."""
        (application,) = self._patiently(db, "PRAGMA application_id").fetchone()
        (version,) = self._patiently(db, "PRAGMA user_version").fetchone()
        (tables,) = self._patiently(db, "SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            return 0
        if application != sql.APPLICATION_ID:
            raise LayerError(
                f"{self.path} is the SQLite database of another program; name another path"
            )
        if version > sql.SCHEMA_VERSION:
            raise LayerError(
                f"queue file {self.path} was made by a later acked (its version is {version}, this "
                f"one knows up to {sql.SCHEMA_VERSION}); upgrade acked or name another path"
            )
        return int(version)

    def _upgrade(self, db: sqlite3.Connection) -> None:
        """Make the tables, or make those of an earlier acked ours; all or nothing."""
        with self._writing(db, self._durable):
            # Race: another process may have been faster.
            while (version := self._version_of(db)) < sql.SCHEMA_VERSION:
                for statement in sql.MIGRATIONS[version] if version else sql.SCHEMA:
                    db.execute(statement)

    def _read_clock(self, db: sqlite3.Connection) -> None:
        """Set our clock by the file's; the first since the machine was started sets that."""
        clock = self.clock
        if not clock.boot:
            return
        found = self._patiently(db, sql.READ_CLOCK).fetchone()
        if found is None or found[0] != clock.boot:
            with self._writing(db, self._durable):
                found = db.execute(sql.READ_CLOCK).fetchone()  # Race: as above.
                if found is None or found[0] != clock.boot:
                    found = (clock.boot, clock.new_base())
                    for statement in sql.SET_CLOCK:
                        values = {"boot": found[0], "base": found[1]} if ":" in statement else {}
                        db.execute(statement, values)
        clock.set(found[1])

    @contextmanager
    def _writing(self, db: sqlite3.Connection, synchronous: str) -> Generator[None, None, None]:
        if self._synchronous != synchronous:
            db.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self._patiently(db, "BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise

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
                if not is_locked(error) or time.monotonic() >= deadline:
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
            raise translated(error, self.path, self._busy_timeout) from error
