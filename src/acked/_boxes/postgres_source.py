"""The rows of an outbox in PostgreSQL as one relay gets them."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import asyncpg

from acked._boxes.contracts import PAGE_BYTES, PAGE_ROWS, Moved, OutboxRow
from acked.layers._postgres.server import NotifyConnection, PostgresServer, dead_after
from acked.layers._postgres.texts import as_it_was, kept
from acked.layers._shared.headers import headers_in

__all__ = ("TIMEOUT", "PostgresOutboxSource")

TIMEOUT: Final = 10.0
"""Seconds for connecting, and for each statement."""
POLL: Final = 1.0
"""Seconds after which a relay looks by itself: another one may have left something."""


class PostgresOutboxSource:
    """The rows as one relay gets them: a slot at a time, under an advisory lock of its session."""

    def __init__(
        self, connection: NotifyConnection, server: PostgresServer, table: str, lock: int
    ) -> None:
        self._connection = connection
        self._server = server
        self._lock = lock
        self._news = anyio.Event()
        self._slots = f"""
            SELECT s FROM generate_series(0, 15) AS s
            WHERE EXISTS (SELECT FROM {table} AS o WHERE o.slot = s)"""  # noqa: S608 - a name of ours
        self._page = f"""
            SELECT * FROM (
                SELECT p.*, sum(octet_length(p.body)) OVER (ORDER BY p.seq)
                    - octet_length(p.body) AS before
                FROM (
                    SELECT o.slot, o.seq, o.topic, o.id, o.key, o.headers, o.content_type, o.body,
                        coalesce(extract(epoch FROM clock_timestamp()) - o.refused, 0)
                            AS refused_for
                    FROM {table} AS o
                    WHERE o.slot = $1 AND NOT EXISTS (
                        SELECT FROM {table} AS r
                        WHERE r.slot = $1 AND r.key = o.key AND r.seq < o.seq
                        AND r.refused IS NOT NULL
                    )
                    ORDER BY o.seq LIMIT {PAGE_ROWS}
                ) AS p
            ) AS sized WHERE before < {PAGE_BYTES} ORDER BY seq"""  # noqa: S608 - names of ours
        self._delete = f"DELETE FROM {table} WHERE slot = $1 AND seq = ANY ($2)"  # noqa: S608
        self._refuse = f"""
            UPDATE {table} SET slot = CASE WHEN $4 THEN -1 ELSE slot END, reason = $3,
                refused = coalesce(refused, extract(epoch FROM clock_timestamp()))
            WHERE slot = $1 AND seq = $2"""  # noqa: S608 - a name of ours

    async def begin(self, channel: str) -> None:
        """Listen, and let the session be as a relay needs it.

        What it deletes need not be on the disk: after a crash it is published again. And no planner
        may seize on statistics of a table that was empty when somebody looked.
        """
        self._connection.arrived = self._tell
        with self._server.translated(), dead_after(TIMEOUT, self._connection):
            await self._connection.execute(
                f'LISTEN "{channel}"; SET synchronous_commit = off; SET enable_seqscan = off; '
                "SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
            )

    @asynccontextmanager
    async def page(self) -> AsyncGenerator[Sequence[OutboxRow]]:
        """Keep the next rows of a slot that no other relay is at, while entered."""
        self._news = anyio.Event()
        with self._server.translated():
            slot, rows = await self._next_page()
        if slot is None:
            yield ()
            return
        try:
            yield rows
        finally:
            with anyio.CancelScope(shield=True):
                await self._unlock(slot)

    async def settle(self, moved: Moved) -> None:
        """Delete what was published, and note what was not."""
        connection = self._connection
        with self._server.translated(), dead_after(TIMEOUT, connection):
            async with connection.transaction():
                if moved.published:
                    numbers = [row.seq for row in moved.published]
                    await connection.execute(self._delete, moved.published[0].slot, numbers)
                for refused, is_last in ((moved.refused, False), (moved.set_aside, True)):
                    for row, why in refused:
                        given = (row.slot, row.seq, kept(why), is_last)
                        await connection.execute(self._refuse, *given)

    async def wait(self) -> None:
        """Return when somebody has committed, or after `POLL`."""
        with anyio.move_on_after(POLL):
            await self._news.wait()

    def _tell(self, *_: object) -> None:
        self._news.set()

    async def _next_page(self) -> tuple[int | None, Sequence[OutboxRow]]:
        connection = self._connection
        with dead_after(TIMEOUT, connection):
            slots = [row["s"] for row in await connection.fetch(self._slots)]
            random.shuffle(slots)  # relays that begin together do not meet at each of them
            for slot in slots:
                taken = "SELECT pg_try_advisory_lock($1, $2)"
                if await connection.fetchval(taken, self._lock, slot):
                    rows = await connection.fetch(self._page, slot)
                    if rows:
                        return slot, [_row_of(row) for row in rows]
                    await self._unlock(slot)  # somebody has just been here
        return None, ()

    async def _unlock(self, slot: int) -> None:
        if self._connection.is_closed():  # and so is the lock
            return
        with self._server.translated(), dead_after(TIMEOUT, self._connection):
            await self._connection.execute("SELECT pg_advisory_unlock($1, $2)", self._lock, slot)


def _row_of(row: "asyncpg.Record") -> OutboxRow:
    return OutboxRow(
        row["slot"],
        row["seq"],
        row["topic"],
        as_it_was(row["id"]),
        None if row["key"] is None else as_it_was(row["key"]),
        headers_in(row["headers"]),
        as_it_was(row["content_type"]),
        row["body"],
        float(row["refused_for"]),
    )
