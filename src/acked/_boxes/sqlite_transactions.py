"""Executing a statement of ours in somebody's transaction in an SQLite database.

The connections of sqlite3, aiosqlite and SQLAlchemy are known by the class of what is given; the
latter two are not imported.
"""

import sqlite3
from collections.abc import Mapping
from importlib import import_module
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final, Protocol, cast

from acked.errors import ConfigurationError, LayerError

__all__ = ("ExecutedStatement", "execute_in")

_OF_SQLITE: Final = {("sqlite3", "Connection"), ("aiosqlite", "Connection")}
_OF_SQLALCHEMY: Final = {
    ("sqlalchemy", "AsyncSession"),
    ("sqlalchemy", "async_scoped_session"),
    ("sqlalchemy", "AsyncConnection"),
}


class ExecutedStatement(Protocol):
    """What a driver says of a statement that it has executed."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    @property
    def lastrowid(self) -> int | None:
        """The number of the row that was inserted."""
        ...


async def execute_in(
    connection: object, statement: str, arguments: Mapping[str, object], path: Path
) -> ExecutedStatement:
    """Execute `statement` in the transaction that `connection` is in, or begins by itself.

    Raises `ConfigurationError` for what is no connection that we know or would commit at once.
    """
    kinds = {(one.__module__.partition(".")[0], one.__name__) for one in type(connection).__mro__}
    if kinds & _OF_SQLITE:
        _require_transaction(connection)
        given: object = statement
    elif kinds & _OF_SQLALCHEMY:
        given = import_module("sqlalchemy").text(statement)
    else:
        raise ConfigurationError(
            f"connection= is a {type(connection).__name__}; give a connection of sqlite3 or "
            "aiosqlite, or an AsyncSession or AsyncConnection of SQLAlchemy"
        )
    try:
        done = cast("Any", connection).execute(given, dict(arguments))
        return cast("ExecutedStatement", await done if isawaitable(done) else done)
    except Exception as error:
        cause = getattr(error, "orig", error)
        if not isinstance(cause, sqlite3.Error):
            raise
        raise LayerError(
            f"{path} refused, in your transaction: {cause}; roll it back. The connection must be "
            "to that file"
        ) from cause


def _require_transaction(connection: Any) -> None:
    """Refuse a connection that commits each statement by itself, unless a BEGIN came before."""
    is_legacy = getattr(connection, "autocommit", -1) == -1  # as it is before Python 3.12
    begins = is_legacy and connection.isolation_level is not None
    if not (connection.in_transaction or begins):
        raise ConfigurationError(
            "connection= is in no transaction, so this would stand without your work, or your work "
            "without it; begin one: connection.execute('BEGIN IMMEDIATE')"
        )
