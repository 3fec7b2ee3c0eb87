"""The arguments of `asyncpg.connect` as a DSN, for who has them apart."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from acked.errors import ConfigurationError, hiding_arguments

__all__ = ("dsn_of",)

PORT: Final = 5432


@hiding_arguments
def dsn_of(
    dsn: str | None = None,
    *,
    host: str | Sequence[str] | None = None,
    port: int | Sequence[int] | None = None,
    user: str | None = None,
    password: str | None = None,
    database: str | None = None,
    passfile: object = None,
    ssl: bool | str | None = None,
    server_settings: Mapping[str, str] | None = None,
) -> str:
    """Return a DSN that says what these arguments of `asyncpg.connect` say.

    Whatever is given beside `dsn` counts instead of what that says. `ssl` is a bool or a word of
    `sslmode`; certificates are named in the dsn. Raises `ConfigurationError` for what has no place.
    """
    parts = urlsplit(dsn or "postgresql://")
    login, _, hosts = parts.netloc.rpartition("@")
    said = {"user": login.partition(":")[0], "password": login.partition(":")[2]}
    said["database"] = parts.path.removeprefix("/")
    given = {"user": user, "password": password, "database": database}
    said |= {name: quote(value, safe="") for name, value in given.items() if value is not None}
    if host is not None or port is not None:
        hosts = _hosts(host or parts.hostname or "localhost", port or PORT)
    query = dict(parse_qsl(parts.query))
    if passfile is not None:
        query["passfile"] = str(passfile)
    if ssl is not None:
        query["sslmode"] = _ssl_mode(ssl)
    query |= server_settings or {}
    login = f"{said['user']}:{said['password']}@" if said["user"] or said["password"] else ""
    path = f"/{said['database']}" if said["database"] else ""
    return parts._replace(netloc=login + hosts, path=path, query=urlencode(query)).geturl()


def _hosts(host: str | Sequence[str], port: int | Sequence[int]) -> str:
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
    raise ConfigurationError(
        f"ssl={type(ssl).__name__}: give a word of sslmode; certificates go into the dsn"
    )
