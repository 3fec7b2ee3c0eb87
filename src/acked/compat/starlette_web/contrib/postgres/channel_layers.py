"""LISTEN and NOTIFY."""

from typing import Any, ClassVar, Final

from acked import MessageTooLarge, Record
from acked.compat._source import Driver, OnLoss
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.starlette_web._channels import (
    Event,
    NotSupportedError,
    SourceLayer,
    configured,
)
from acked.layers.postgres_notify import PostgresNotifyLayer, dsn_of

__all__ = ("PostgreSQLChannelLayer",)

USED: Final = frozenset(
    {*("dsn", "host", "port", "user", "password", "database"), "passfile", "ssl", "server_settings"}
)


class PostgreSQLChannelLayer(SourceLayer):
    """News over PostgreSQL: texts of up to 7999 bytes, without anything around them.

    `options` are those of `asyncpg.connect`: `dsn`, or `host`, `port`, `user`, `password`,
    `database`, `passfile`, `ssl` (a word or a bool), `server_settings`, `timeout`.
    """

    MAX_MESSAGE_BYTELEN: ClassVar[int] = 7999
    driver: ClassVar[Driver] = PostgresBackend.driver

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        with configured():
            dsn = dsn_of(**{name: options.pop(name) for name in USED & options.keys()})
            given = {"timeout": options.pop("timeout", 10.0), "bare": True}
            super().__init__(PostgresNotifyLayer, dsn, on_loss, options, **given)

    async def publish(self, group: str, message: Any, **_: Any) -> None:
        """Publish the text `message`; `NotSupportedError` for what is no text, or too long."""
        if not isinstance(message, str):
            raise NotSupportedError(f"NOTIFY carries text, not {type(message).__name__}")
        try:
            await self._send(group, message.encode())
        except MessageTooLarge as error:
            raise NotSupportedError(str(error)) from error

    def event(self, record: Record) -> Event:
        """Return the event."""
        return Event(record.topic, record.body.decode())
