"""LISTEN and NOTIFY."""

from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from acked import MessageTooLarge, Record
from acked.compat._errors import Driver
from acked.compat._source import OnLoss, way
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer, configured
from acked.compat.starlette_web.common.http.exceptions import (
    ImproperlyConfigured,
    NotSupportedError,
)
from acked.layers.postgres_notify import PostgresNotifyLayer

__all__ = ("PostgreSQLChannelLayer",)

ADDRESS = ("host", "port", "user", "password", "database", "passfile", "ssl", "server_settings")


class PostgreSQLChannelLayer(SourceLayer):
    """News over PostgreSQL: texts of up to 7999 bytes, without anything around them.

    `options` are those of `asyncpg.connect`: `dsn`, or `host`, `port`, `user`, `password`,
    `database`, `passfile`, `ssl` (a word or a bool), `server_settings`, `timeout`.
    """

    MAX_MESSAGE_BYTELEN: ClassVar[int] = 7999
    driver: ClassVar[Driver] = PostgresBackend.driver

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        timeout = options.pop("timeout", 10.0)
        with configured():
            dsn = _dsn(options)
            layer = PostgresNotifyLayer(dsn, on_loss=way(on_loss), timeout=timeout, bare=True)
            super().__init__(layer, on_loss, options)

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


def _dsn(options: dict[str, Any]) -> str:
    """Return a DSN that says what `options` say, and take that out of them."""
    parts = urlsplit(options.pop("dsn", None) or "postgresql://")
    given = {one: value for one in ADDRESS if (value := options.pop(one, None)) is not None}
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    said = {"user": user, "password": password, "database": parts.path.removeprefix("/")}
    said |= {name: quote(given[name], safe="") for name in said.keys() & given.keys()}
    if given.keys() & {"host", "port"}:
        hosts = _hosts(given.get("host", parts.hostname or "localhost"), given.get("port", 5432))
    query = dict(parse_qsl(parts.query))
    if "passfile" in given:
        query["passfile"] = str(given["passfile"])
    if "ssl" in given:
        query["sslmode"] = _ssl_mode(given["ssl"])
    query |= given.get("server_settings", {})
    login = f"{said['user']}:{said['password']}@" if said["user"] or said["password"] else ""
    path = f"/{said['database']}" if said["database"] else ""
    return parts._replace(netloc=login + hosts, path=path, query=urlencode(query)).geturl()


def _hosts(host: Any, port: Any) -> str:
    """Return hosts and ports, of which there may be several, as a DSN has them."""
    hosts = [host] if isinstance(host, str) else list(host)
    ports = [port] * len(hosts) if isinstance(port, str | int) else list(port)
    bare = (quote(one, safe="") if ":" not in one else f"[{one.strip('[]')}]" for one in hosts)
    return ",".join(f"{one}:{number}" for one, number in zip(bare, ports, strict=True))


def _ssl_mode(ssl: object) -> str:
    if isinstance(ssl, bool):
        return "verify-full" if ssl else "disable"
    if isinstance(ssl, str):
        return ssl
    raise ImproperlyConfigured(
        f"ssl={type(ssl).__name__}: give a word of sslmode; certificates go into the dsn"
    )
