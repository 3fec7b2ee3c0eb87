"""From the URL of a database to the tables in it."""

from importlib import import_module
from typing import Any, Final, cast

from acked._boxes.contracts import InboxStore, OutboxStore
from acked._boxes.sqlite import SQLiteInbox, SQLiteOutbox
from acked.errors import ConfigurationError, hiding_arguments

__all__ = ("inbox_store", "outbox_store", "postgres_sql")

POSTGRES: Final = ("postgresql://", "postgres://")
SQLITE: Final = "sqlite://"


@hiding_arguments
def outbox_store(database: str, *, schema: str, migrate: bool) -> OutboxStore:
    """Return the outbox in `database`; raise `ConfigurationError` for what is none."""
    if database.startswith(SQLITE):
        return SQLiteOutbox(database, schema=schema, migrate=migrate)
    made: object = _postgres(database).PostgresOutbox(database, schema=schema, migrate=migrate)
    return cast("OutboxStore", made)


@hiding_arguments
def inbox_store(database: str, *, schema: str, migrate: bool) -> InboxStore:
    """Return the inbox in `database`, as `outbox_store` does."""
    if database.startswith(SQLITE):
        return SQLiteInbox(database, schema=schema, migrate=migrate)
    made: object = _postgres(database).PostgresInbox(database, schema=schema, migrate=migrate)
    return cast("InboxStore", made)


def postgres_sql(box: str, schema: str) -> str:
    """Return the SQL that makes the table of `box` in PostgreSQL."""
    script: str = _postgres(POSTGRES[0]).box_sql(box, schema)
    return script


def _postgres(database: str) -> Any:
    """Return the module for PostgreSQL, whose client may not be installed."""
    if not database.startswith(POSTGRES):
        raise ConfigurationError(
            "an outbox or inbox is in postgresql://user:password@host/database, or in "
            "sqlite:///path/of/a.db"
        )
    try:
        return import_module("acked._boxes.postgres")
    except ImportError as error:
        raise ConfigurationError(
            "postgresql:// needs asyncpg: pip install 'acked[postgres]'"
        ) from error
