"""An outbox and an inbox in an SQLite database: a table beside the user's.

Relays exclude one another by a lock on a small file beside it, which ends with its process.
"""

import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
from anyio import to_thread

from acked._boxes.contracts import (
    PAGE_BYTES,
    PAGE_ROWS,
    Moved,
    OutboxRow,
    OutboxSource,
    OutboxStatus,
)
from acked._boxes.sqlite_transactions import execute_in
from acked.errors import ConfigurationError, LayerError
from acked.layers._shared.headers import column_of, headers_in
from acked.layers._shared.schema import checked_schema
from acked.types import Record

__all__ = ("SQLiteInbox", "SQLiteOutbox")

T = TypeVar("T")

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait while others write."""
POLL: Final = 0.1
PURGED_AT_ONCE: Final = 1000

_MAY_PASS: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
)

_OUTBOX: Final = """
    CREATE TABLE IF NOT EXISTS @schema_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT,
        headers TEXT,
        content_type TEXT NOT NULL,
        body BLOB NOT NULL,
        put REAL NOT NULL,
        refused REAL,
        reason TEXT,
        is_aside INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS @schema_outbox_refused ON @schema_outbox (key, seq)
    WHERE refused IS NOT NULL AND NOT is_aside;
"""
"""`put` and `refused`, when it was for the first time, are seconds since the epoch."""

_PUT: Final = """
    INSERT INTO @schema_outbox (topic, id, key, headers, content_type, body, put)
    VALUES (:topic, :id, :key, :headers, :content_type, :body, :put)"""

_PAGE: Final = """
    SELECT seq, topic, id, key, headers, content_type, body, coalesce(:now - refused, 0)
    FROM @schema_outbox AS o
    WHERE NOT is_aside AND NOT EXISTS (
        SELECT 1 FROM @schema_outbox AS r
        WHERE r.key = o.key AND r.seq < o.seq AND r.refused IS NOT NULL AND NOT r.is_aside
    )
    ORDER BY seq LIMIT :rows"""

_DELETE: Final = "DELETE FROM @schema_outbox WHERE seq = ?"

_REFUSE: Final = """
    UPDATE @schema_outbox SET refused = coalesce(refused, ?), reason = ?, is_aside = ?
    WHERE seq = ?"""

_STATUS: Final = """
    SELECT count(*) - coalesce(sum(is_aside), 0),
        coalesce(:now - min(CASE WHEN is_aside THEN NULL ELSE put END), 0),
        coalesce(sum(is_aside), 0)
    FROM @schema_outbox"""

_RETRY: Final = """
    UPDATE @schema_outbox SET is_aside = 0, refused = NULL, reason = NULL WHERE is_aside"""

_INBOX: Final = """
    CREATE TABLE IF NOT EXISTS @schema_inbox (
        grp TEXT NOT NULL,
        topic TEXT NOT NULL,
        id TEXT NOT NULL,
        marked REAL NOT NULL,
        PRIMARY KEY (grp, topic, id)
    );
    CREATE INDEX IF NOT EXISTS @schema_inbox_marked ON @schema_inbox (marked);
"""

_MARK: Final = """
    INSERT OR IGNORE INTO @schema_inbox (grp, topic, id, marked)
    VALUES (:group, :topic, :id, :now)"""

_PURGE: Final = """
    DELETE FROM @schema_inbox WHERE rowid IN (
        SELECT rowid FROM @schema_inbox WHERE marked < ? ORDER BY marked LIMIT ?
    )"""


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.netloc + parts.path)
    if not path or parts.query or parts.fragment:
        raise ConfigurationError("name the file, as in sqlite:///var/lib/shop/shop.db")
    return Path(path).absolute()


class SQLiteBox:
    """A table of ours in somebody's database; each call opens the file, and closes it again."""

    def __init__(self, url: str, tables: str, *, schema: str, migrate: bool) -> None:
        self._path = _path_of(url)
        self._prefix = checked_schema(schema)
        self._tables = self._sql(tables)
        self._migrate = migrate

    def __repr__(self) -> str:
        return f"{self._path}, tables {self._prefix}_..."

    async def prepare(self) -> None:
        """Make the table, where that is wanted; one that is missing then is told when used."""
        if self._migrate:
            await self._run(lambda db: db.executescript(self._tables))

    def _sql(self, statement: str) -> str:
        return statement.replace("@schema", self._prefix)

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `job` returns, done in a thread, with a connection of its own."""

        def run() -> T:
            with self._translated(), closing(self._connect()) as db:
                return job(db)

        return await to_thread.run_sync(run)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            words = f"{self._path} is refused by SQLite: {error}"
            if code == sqlite3.SQLITE_CANTOPEN:
                words = f"{self._path} cannot be opened; it must be there: make your tables first"
            raise LayerError(words, may_pass=code in _MAY_PASS) from error


class SQLiteOutbox(SQLiteBox):
    """The table `acked_outbox`: see `OutboxStore`."""

    def __init__(self, url: str, *, schema: str, migrate: bool) -> None:
        super().__init__(url, _OUTBOX, schema=schema, migrate=migrate)

    async def put(self, connection: object, record: Record) -> int:
        """Put `record` in, within the transaction of `connection`."""
        row = {
            "topic": record.topic,
            "id": record.id,
            "key": record.key,
            "headers": column_of(record.headers),
            "content_type": record.content_type,
            "body": record.body,
            "put": time.time(),
        }
        done = await execute_in(connection, self._sql(_PUT), row, self._path)
        return done.lastrowid or 0

    @asynccontextmanager
    async def relaying(self) -> AsyncGenerator[OutboxSource]:
        """Connect a relay, for as long as it runs."""
        source = SQLiteOutboxSource(self)
        try:
            yield source
        finally:
            source.close()

    async def page(self) -> Sequence[OutboxRow]:
        """Return the next rows, up to a bound of their bytes."""
        return await self._run(self._page)

    def _page(self, db: sqlite3.Connection) -> Sequence[OutboxRow]:
        rows: list[OutboxRow] = []
        size = 0
        for row in db.execute(self._sql(_PAGE), {"now": time.time(), "rows": PAGE_ROWS}):
            seq, topic, message, key, headers, content_type, body, refused_for = row
            given = headers_in(headers)
            rows.append(
                OutboxRow(0, seq, topic, message, key, given, content_type, body, refused_for)
            )
            size += len(body)
            if size >= PAGE_BYTES:
                break
        return rows

    async def settle(self, moved: Moved) -> None:
        """Delete what was published, and note what was not."""
        await self._run(partial(self._settle, moved))

    def _settle(self, moved: Moved, db: sqlite3.Connection) -> None:
        now = time.time()
        refused = [(now, why, False, row.seq) for row, why in moved.refused]
        refused += [(now, why, True, row.seq) for row, why in moved.set_aside]
        db.execute("BEGIN IMMEDIATE")
        db.executemany(self._sql(_DELETE), [(row.seq,) for row in moved.published])
        db.executemany(self._sql(_REFUSE), refused)
        db.execute("COMMIT")

    async def status(self) -> OutboxStatus:
        """Count what waits and what was set aside."""
        now = {"now": time.time()}
        row = await self._run(lambda db: db.execute(self._sql(_STATUS), now).fetchone())
        return OutboxStatus(row[0], max(0.0, row[1]), row[2])

    async def retry(self) -> int:
        """Let what was set aside be tried again."""
        return await self._run(lambda db: db.execute(self._sql(_RETRY)).rowcount)

    def guard(self) -> sqlite3.Connection | None:
        """Return what keeps other relays away until it is closed; None where there is one."""
        name = self._path.with_name(f"{self._path.name}-{self._prefix}-relay")
        with self._translated():
            db = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                db.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                db.close()
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                    return None
                raise
            return db


class SQLiteOutboxSource:
    """The rows as one relay gets them: all of them, from the end of another one on."""

    def __init__(self, box: SQLiteOutbox) -> None:
        self._box = box
        self._guard: sqlite3.Connection | None = None
        self.settle: Final = box.settle

    @asynccontextmanager
    async def page(self) -> AsyncGenerator[Sequence[OutboxRow]]:
        """Return the next rows, or none while another relay works."""
        if self._guard is None:
            self._guard = await to_thread.run_sync(self._box.guard)
        yield () if self._guard is None else await self._box.page()

    async def wait(self) -> None:
        """Return after a moment: nobody is told of what others commit."""
        await anyio.sleep(POLL)

    def close(self) -> None:
        """Let another relay work."""
        if self._guard is not None:
            self._guard.close()


class SQLiteInbox(SQLiteBox):
    """The table `acked_inbox`: see `InboxStore`."""

    def __init__(self, url: str, *, schema: str, migrate: bool) -> None:
        super().__init__(url, _INBOX, schema=schema, migrate=migrate)

    async def mark(self, connection: object, group: str, topic: str, message: str) -> bool:
        """Mark a message, within the transaction of `connection`."""
        mark = {"group": group, "topic": topic, "id": message, "now": time.time()}
        done = await execute_in(connection, self._sql(_MARK), mark, self._path)
        return done.rowcount == 1

    async def purge_page(self, keep: float) -> bool:
        """Delete a page of old marks."""
        oldest = time.time() - keep
        purge = self._sql(_PURGE)
        deleted = await self._run(lambda db: db.execute(purge, (oldest, PURGED_AT_ONCE)).rowcount)
        return deleted == PURGED_AT_ONCE
