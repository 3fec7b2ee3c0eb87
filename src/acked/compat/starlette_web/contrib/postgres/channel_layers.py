"""LISTEN and NOTIFY."""

from typing import Any, ClassVar, Final

from acked.compat._source import Driver, OnLoss, leave_out
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer, configured
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError
from acked.layers.postgres_notify import PostgresNotifyLayer, dsn_of

__all__ = ("PostgreSQLChannelLayer",)

USED: Final = frozenset(
    {*("dsn", "host", "port", "user", "password", "database"), "passfile", "ssl", "server_settings"}
)


class PostgreSQLChannelLayer(SourceLayer):
    """News over PostgreSQL: texts of up to 7999 bytes, without anything around them.

    `options` are those of `asyncpg.connect`: `dsn`, or `host`, `port`, `user`, `password`,
    `database`, `passfile`, `ssl` (a word or a bool), `server_settings`, `timeout`. Publishing
    raises `NotSupportedError` for what is no text, or too long.
    """

    MAX_MESSAGE_BYTELEN: ClassVar[int] = 7999
    driver: ClassVar[Driver] = PostgresBackend.driver

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        with configured():
            dsn = dsn_of(**{name: options.pop(name) for name in USED & options.keys()})
            given = {"timeout": options.pop("timeout", 10.0), "bare": True}
            leave_out(options, type(self).__name__)
            super().__init__(PostgresNotifyLayer, dsn, on_loss, **given)

    def _encode(self, message: Any) -> bytes:
        if not isinstance(message, str):
            raise NotSupportedError(f"NOTIFY carries text, not {type(message).__name__}")
        body, most = message.encode(), self.MAX_MESSAGE_BYTELEN
        if len(body) > most:
            raise NotSupportedError(f"{len(body)} bytes: NOTIFY carries at most {most}")
        return body

    def _decode(self, body: bytes) -> str:
        return body.decode()
