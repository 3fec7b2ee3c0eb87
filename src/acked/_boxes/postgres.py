"""An outbox and an inbox in PostgreSQL: a table and its functions in a schema of the database."""

import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, cast

import anyio

from acked._boxes.contracts import OutboxSource, OutboxStatus
from acked._boxes.postgres_source import TIMEOUT, PostgresOutboxSource
from acked.errors import LayerError
from acked.layers._postgres.schema import MAKE_SCHEMA, quoted
from acked.layers._postgres.server import NotifyConnection, PostgresServer, close, dead_after
from acked.layers._postgres.texts import kept
from acked.layers._postgres.transactions import StoredFunction, call_in
from acked.layers._shared.headers import column_of
from acked.layers._shared.runtime import require_asyncio
from acked.layers._shared.schema import checked_schema
from acked.types import Record

__all__ = ("Box", "PostgresInbox", "PostgresOutbox", "box_sql")

Box: TypeAlias = Literal["outbox", "inbox"]

PURGED_AT_ONCE: Final = 1000


def box_sql(box: Box, schema: str) -> str:
    """Return the SQL that makes the table of `box`; whatever is there is left as it is."""
    script = (resources.files("acked._boxes") / "sql" / f"{box}.sql").read_text()
    whole = f"{MAKE_SCHEMA}\n{script}".replace("@schema", quoted(checked_schema(schema)))
    return whole.replace("@channel", _channel_of(schema))


def _channel_of(schema: str) -> str:
    return f"acked_outbox.{schema}"


def _lock_of(schema: str) -> int:
    """Return the first number of the advisory locks of an outbox: an int4."""
    return zlib.crc32(f"acked.outbox.{schema}".encode()) - (1 << 31)


class PostgresBox:
    """A table of ours in somebody's database."""

    def __init__(self, dsn: str, box: Box, *, schema: str, migrate: bool) -> None:
        self._server = PostgresServer(dsn, TIMEOUT)
        self._box: Box = box
        self._schema = checked_schema(schema)
        self._table = f"{quoted(schema)}.{box}"
        self._migrate = migrate

    def __repr__(self) -> str:
        return f"{self._server.address}, table {self._table}"

    async def prepare(self) -> None:
        """Make the table, or see that it is there."""
        async with self._connection() as connection:
            if await self._is_there(connection):
                return
            if not self._migrate:
                raise LayerError(
                    f"{self} does not exist; run what `acked schema --of {self._box}` prints, or "
                    "leave out migrate=False"
                )
            async with connection.transaction():
                await connection.execute(
                    f"SELECT pg_advisory_xact_lock({_lock_of(self._schema)}, -1)"
                )
                if not await self._is_there(connection):
                    await connection.execute(box_sql(self._box, self._schema))

    async def _is_there(self, connection: NotifyConnection) -> bool:
        found: object = await connection.fetchval("SELECT to_regclass($1)", self._table)
        return found is not None

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[NotifyConnection]:
        """Connect for a few statements, each of them soon answered."""
        require_asyncio("asyncpg")
        connection = await self._server.connection()
        try:
            with self._server.translated(), dead_after(TIMEOUT, connection):
                yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await close(connection)

    async def _call_in(self, connection: object, name: str, types: str, *given: object) -> object:
        """Call the function of this box in the transaction of `connection`."""
        function = StoredFunction(f"{self._table}_{name}", tuple(types.split()))
        return await call_in(connection, function, given, self._server.address)


class PostgresOutbox(PostgresBox):
    """The table `outbox`: see `OutboxStore`."""

    def __init__(self, dsn: str, *, schema: str, migrate: bool) -> None:
        super().__init__(dsn, "outbox", schema=schema, migrate=migrate)

    async def put(self, connection: object, record: Record) -> int:
        """Put `record` in, within the transaction of `connection`."""
        number = await self._call_in(
            connection,
            "put",
            "text text text text text bytea",
            record.topic,
            kept(record.id),
            None if record.key is None else kept(record.key),
            column_of(record.headers),
            kept(record.content_type),
            record.body,
        )
        return cast("int", number)

    @asynccontextmanager
    async def relaying(self) -> AsyncGenerator[OutboxSource]:
        """Connect a relay, for as long as it runs."""
        require_asyncio("asyncpg")
        connection = await self._server.connection()
        try:
            source = PostgresOutboxSource(
                connection, self._server, self._table, _lock_of(self._schema)
            )
            await source.begin(_channel_of(self._schema))
            yield source
        finally:
            with anyio.CancelScope(shield=True):
                await close(connection)

    async def status(self) -> OutboxStatus:
        """Count what waits and what was set aside."""
        asked = f"""
            SELECT count(*) FILTER (WHERE slot >= 0), count(*) FILTER (WHERE slot < 0),
                coalesce(extract(epoch FROM clock_timestamp())
                    - min(put) FILTER (WHERE slot >= 0), 0)
            FROM {self._table}"""  # noqa: S608 - a name of ours
        async with self._connection() as connection:
            waiting, aside, oldest = cast("Any", await connection.fetchrow(asked))
        return OutboxStatus(waiting, max(0.0, float(oldest)), aside)

    async def retry(self) -> int:
        """Let what was set aside be tried again."""
        again = f"""
            UPDATE {self._table}
            SET slot = {self._table}_slot(id, key), refused = NULL, reason = NULL
            WHERE slot < 0"""  # noqa: S608 - a name of ours
        async with self._connection() as connection:
            return int((await connection.execute(again)).rpartition(" ")[2])


class PostgresInbox(PostgresBox):
    """The table `inbox`: see `InboxStore`."""

    def __init__(self, dsn: str, *, schema: str, migrate: bool) -> None:
        super().__init__(dsn, "inbox", schema=schema, migrate=migrate)

    async def mark(self, connection: object, group: str, topic: str, message: str) -> bool:
        """Mark a message, within the transaction of `connection`."""
        types = "text text text"
        marked = await self._call_in(connection, "first_time", types, group, topic, kept(message))
        return marked is True

    async def purge_page(self, keep: float) -> bool:
        """Delete a page of old marks; several that purge do not wait for each other."""
        delete = f"""
            DELETE FROM {self._table} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {self._table}
                WHERE marked < extract(epoch FROM clock_timestamp()) - $1::double precision
                ORDER BY marked LIMIT {PURGED_AT_ONCE} FOR UPDATE SKIP LOCKED
            ))"""  # noqa: S608 - a name of ours
        async with self._connection() as connection:
            deleted = int((await connection.execute(delete, keep)).rpartition(" ")[2])
        return deleted == PURGED_AT_ONCE
