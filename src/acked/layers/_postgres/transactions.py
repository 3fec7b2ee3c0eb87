"""Calling a function of ours in somebody's transaction, on a connection of the driver they use.

asyncpg, psycopg (its `AsyncConnection`) and SQLAlchemy (its `AsyncSession` and `AsyncConnection`)
are known by the class of what is given, none of them imported. Anything else takes part that has a
method `fetch_value`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from acked.errors import AckedError, ConfigurationError, LayerError
from acked.layers._postgres.errors import OF_ASYNCPG, translated

__all__ = ("FetchesValue", "StoredFunction", "call_in", "require_transaction")


class StoredFunction(NamedTuple):
    """A function on the server: its name with the schema, and the types of its parameters."""

    name: str
    types: tuple[str, ...]

    def numbered(self) -> str:
        """Return the call with $1, $2, as asyncpg writes parameters."""
        return self._call([f"${n}" for n in range(1, len(self.types) + 1)])

    def with_percents(self) -> str:
        """Return the call with %s, as psycopg writes parameters."""
        return self._call([f"CAST(%s AS {kind})" for kind in self.types])

    def with_names(self) -> str:
        """Return the call with :p1, :p2, as SQLAlchemy writes parameters."""
        return self._call([f"CAST(:p{n} AS {kind})" for n, kind in enumerate(self.types, 1)])

    def _call(self, parameters: list[str]) -> str:
        return f"SELECT {self.name}({', '.join(parameters)})"


@runtime_checkable
class FetchesValue(Protocol):
    """A connection, or what stands for one, that a driver unknown to `acked` has."""

    async def fetch_value(self, statement: str, arguments: Sequence[object]) -> object:
        """Return the one value of `statement`, with $1, $2 for `arguments`.

        *Called by* the layer, in the task that publishes or acks. Lists are arrays, bytes bytea.
        """
        ...


async def _by_asyncpg(
    connection: Any, function: StoredFunction, arguments: Sequence[object]
) -> object:
    return await connection.fetchval(function.numbered(), *arguments)


async def _by_psycopg(
    connection: Any, function: StoredFunction, arguments: Sequence[object]
) -> object:
    async with connection.cursor() as cursor:
        await cursor.execute(function.with_percents(), arguments)
        row: Any = await cursor.fetchone()
    # Of the row factory that the connection has: a tuple, or a mapping of the one column.
    return next(iter(row.values())) if hasattr(row, "values") else row[0]


async def _by_session(
    session: Any, function: StoredFunction, arguments: Sequence[object]
) -> object:
    return await _by_sqlalchemy(await session.connection(), function, arguments)


async def _by_sqlalchemy(
    connection: Any, function: StoredFunction, arguments: Sequence[object]
) -> object:
    # It begins transactions by itself, unless its isolation level is AUTOCOMMIT.
    if (await connection.get_raw_connection()).dbapi_connection.autocommit:
        raise _in_no_transaction()
    text = import_module("sqlalchemy").text
    named = {f"p{n}": argument for n, argument in enumerate(arguments, 1)}
    return (await connection.execute(text(function.with_names()), named)).scalar_one()


async def _by_its_method(
    connection: FetchesValue, function: StoredFunction, arguments: Sequence[object]
) -> object:
    return await connection.fetch_value(function.numbered(), arguments)


_Caller = Callable[[Any, StoredFunction, Sequence[object]], Awaitable[object]]

_CALLERS: Final[Mapping[tuple[str, str], _Caller]] = {
    ("asyncpg", "Connection"): _by_asyncpg,
    ("asyncpg", "PoolConnectionProxy"): _by_asyncpg,
    ("psycopg", "AsyncConnection"): _by_psycopg,
    ("sqlalchemy", "AsyncSession"): _by_session,
    ("sqlalchemy", "async_scoped_session"): _by_session,
    ("sqlalchemy", "AsyncConnection"): _by_sqlalchemy,
}
"""By the package and the name of a class, or of one that it is derived from."""


async def call_in(
    connection: object, function: StoredFunction, arguments: Sequence[object], address: str
) -> object:
    """Return what `function` returns, called in the transaction that `connection` is in.

    Raises `ConfigurationError` for what is no connection that we know, or in no transaction, and
    `LayerError` for what the server or the driver refuses: after that it cannot commit.
    """
    call = _caller_of(connection)
    require_transaction(connection)
    try:
        return await call(connection, function, arguments)
    except OF_ASYNCPG as error:
        raise translated(error, address) from error
    except (AckedError, asyncio.CancelledError):
        raise
    except Exception as error:
        code = _sqlstate_of(error)
        words = f"{type(error).__module__}.{type(error).__name__}"
        raise LayerError(
            f"{function.name} failed in your transaction ({words}, SQLSTATE {code}); roll it back. "
            f"The connection must be to the database of {address}"
        ) from error


def require_transaction(connection: Any) -> None:
    """Raise `ConfigurationError` where each statement on `connection` would commit by itself.

    As far as its driver says: asyncpg and psycopg do, SQLAlchemy is asked when it is used.
    """
    is_inside = getattr(connection, "is_in_transaction", None)
    if callable(is_inside):
        is_outside = not is_inside()
    else:
        is_outside = getattr(connection, "autocommit", None) is True and (
            connection.info.transaction_status == 0
        )
    if is_outside:
        raise _in_no_transaction()


def _in_no_transaction() -> ConfigurationError:
    return ConfigurationError(
        "connection= is in no transaction, so this would stand without your work, or your work "
        "without it; begin one: async with connection.transaction()"
    )


def _caller_of(connection: object) -> _Caller:
    if isinstance(connection, FetchesValue):
        return _by_its_method
    for kind in type(connection).__mro__:
        found = _CALLERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            return found
    raise ConfigurationError(
        f"connection= is a {type(connection).__name__}; give an asyncpg connection, an "
        "AsyncConnection of psycopg, an AsyncSession or AsyncConnection of SQLAlchemy, or what has "
        "fetch_value(statement, arguments)"
    )


def _sqlstate_of(error: BaseException) -> str:
    """Return the SQLSTATE of a driver's error, or of that which a library wraps around it."""
    for one in (error, getattr(error, "orig", None)):
        code: object = getattr(one, "sqlstate", None)
        if isinstance(code, str):
            return code
    return "unknown"
