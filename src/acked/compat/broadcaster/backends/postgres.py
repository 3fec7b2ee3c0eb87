"""`postgres://`, `postgresql://`: LISTEN and NOTIFY."""

from typing import ClassVar

from asyncpg import ConnectionDoesNotExistError, PostgresError

from acked.abc import FireAndForgetLayer
from acked.compat._drivers import Driver
from acked.compat.broadcaster.backends._source import Source
from acked.layers.postgres_notify import PostgresNotifyLayer

__all__ = ("PostgresBackend",)


class PostgresBackend(Source):
    """News over PostgreSQL; the options in the URL are asyncpg's."""

    driver: ClassVar[Driver] = Driver(
        # asyncpg lets an OSError through when it cannot connect.
        lost=(ConnectionDoesNotExistError, ConnectionError),
        refused=(PostgresError,),
    )

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:
        """Return a layer whose messages are bare texts, as the original's are."""
        return PostgresNotifyLayer(
            self._url, on_loss="reconnect" if reconnects else "raise", bare=True
        )
