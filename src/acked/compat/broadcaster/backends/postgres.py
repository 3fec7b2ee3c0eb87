"""`postgres://`, `postgresql://`: LISTEN and NOTIFY."""

from typing import Any, ClassVar

import asyncpg
from asyncpg import ConnectionDoesNotExistError, PostgresError

from acked.compat._source import Driver, OnLoss
from acked.compat.broadcaster._base import TextSource
from acked.layers.postgres_notify import PostgresNotifyLayer

__all__ = ("PostgresBackend",)


class PostgresBackend(TextSource):
    """Bare texts over PostgreSQL; the options in the URL are asyncpg's."""

    _conn: Any = None
    driver: ClassVar[Driver] = Driver(
        # asyncpg lets an OSError through when it cannot connect.
        lost=(ConnectionDoesNotExistError, ConnectionError),
        refused=(PostgresError,),
    )

    def __init__(self, url: str, on_loss: OnLoss = "reconnect") -> None:
        self._url = url
        super().__init__(PostgresNotifyLayer, url, on_loss, bare=True)

    async def connect(self) -> None:
        """Connect; a subclass has a connection of asyncpg for its own use, `_conn`."""
        await super().connect()
        if type(self) is not PostgresBackend:  # others know nothing of it, and servers have few
            try:
                self._conn = await asyncpg.connect(self._url)
            except BaseException:
                await super().disconnect()
                raise

    async def disconnect(self) -> None:
        """Close all connections."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None
        await super().disconnect()
