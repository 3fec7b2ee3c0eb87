"""The tables and functions of a queue: made, brought up to date, or printed for doing it by hand.

They are in `sql/`: a numbered file for each version of the tables, and the functions, which are
replaced with every version.
"""

import zlib
from importlib import resources
from typing import Final, cast

import asyncpg

from acked.errors import ConfigurationError, LayerError
from acked.layers._postgres.schema import MAKE_SCHEMA, quoted
from acked.layers._postgres.server import AnyConnection

__all__ = ("VERSION", "channel_of", "installed", "migrate", "script")

VERSION: Final = 4
"""The version of the tables that this `acked` works with."""

_FOLDER: Final = resources.files("acked.layers.postgres_queue") / "sql"


def channel_of(schema: str) -> str:
    """Return the channel on which a queue says what has become free."""
    return f"acked_queue.{schema}"


def script(schema: str, *, since: int = 0) -> str:
    """Return the SQL that brings the tables in `schema` from the version `since` to this one's."""
    if not 0 <= since <= VERSION:
        raise ConfigurationError(
            f"since={since}: there are versions from 0 (none yet) to {VERSION}"
        )
    parts = [] if since else [MAKE_SCHEMA]
    parts += [
        (_FOLDER / f"{number:03}.sql").read_text() for number in range(since + 1, VERSION + 1)
    ]
    parts += [
        (_FOLDER / "functions.sql").read_text(),
        f"UPDATE @schema.version SET number = {VERSION};\n",  # noqa: S608 - a constant
    ]
    return (
        "\n".join(parts)
        .replace("@schema", quoted(schema))
        .replace("@channel", channel_of(schema))
        .replace("@lock", str(_lock_of(schema)))
    )


def _lock_of(schema: str) -> int:
    """Return the first number of the advisory locks of a queue: an int4."""
    return zlib.crc32(f"acked.{schema}".encode()) - (1 << 31)


async def installed(connection: AnyConnection, schema: str) -> int:
    """Return the version of the tables in `schema`; 0 where there are none."""
    table = f"{quoted(schema)}.version"
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return 0
    return cast("int", await connection.fetchval(f"SELECT number FROM {table}"))  # noqa: S608


async def migrate(connection: AnyConnection, schema: str, address: str) -> None:
    """Make the tables, or bring them up to date, in one transaction and under a lock.

    Raises `LayerError` where this role may not, saying how another one does it.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_lock_of(schema)}, 0)")
            number = await installed(connection, schema)
            if number < VERSION:
                await connection.execute(script(schema, since=number))
    except asyncpg.InsufficientPrivilegeError as error:
        raise LayerError(
            f"{address} does not let this role make the tables of schema {schema!r} (SQLSTATE "
            f"{error.sqlstate}); let one that may run what `acked schema` prints, and GRANT us "
            "USAGE on the schema, and ALL on its tables and its sequences"
        ) from error


async def check_version(connection: AnyConnection, schema: str, address: str) -> None:
    """Raise `LayerError` unless the tables are of the version that this `acked` works with."""
    number = await installed(connection, schema)
    if number == VERSION:
        return
    if number > VERSION:
        raise LayerError(
            f"schema {schema!r} of {address} has version {number}, made by a later acked; this one "
            f"works with {VERSION}: upgrade it"
        )
    raise LayerError(
        f"schema {schema!r} of {address} has version {number} of the tables (0: none), and this "
        f"acked needs {VERSION}; run what `acked schema --since {number}` prints, or leave out "
        "migrate=false"
    )
