"""Addresses of Redis: as redis-py takes them, and as our layers do."""

import logging
from collections.abc import Mapping
from ssl import VerifyMode
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import Redis, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._drivers import Driver
from acked.errors import ConfigurationError
from acked.layers._kit import without_credentials

__all__ = ("REDIS", "plain_url", "url_of")

logger = logging.getLogger("acked.compat")

REDIS: Final = Driver(lost=(RedisConnectionError,), refused=(RedisError,))

UNDERSTOOD: Final = (
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
"""Of redis-py's options, those that both layers take; `db`, `username`, `password` have a place in
the URL itself."""


def plain_url(url: str) -> str:
    """Return `url` with nothing in its query but what our layers understand.

    An application may have any of redis-py's options there (`socket_timeout`, `protocol`,
    `max_connections`, ...); the layers have their own answers to these, and the log says so.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database, user, password = (options.pop(one, "") for one in ("db", "username", "password"))
    kept: dict[str, str] = {name: options.pop(name) for name in UNDERSTOOD if name in options}
    if options:
        logger.info(
            "%s: acked has no use for these options, and its own way instead: %s",
            without_credentials(url),
            ", ".join(sorted(options)),
        )
    login, at, host = parts.netloc.rpartition("@")
    if not at and (user or password):
        login, at = f"{quote(user, safe='')}:{quote(password, safe='')}", "@"
    path = f"/{database}" if database and parts.path in {"", "/"} else parts.path
    return parts._replace(netloc=f"{login}{at}{host}", path=path, query=urlencode(kept)).geturl()


def url_of(client: "Redis") -> str:
    """Return a URL with the address, credentials and TLS of `client`.

    Raises `ConfigurationError` for a client whose address is not fixed: a sentinel's, one with a
    provider of credentials.
    """
    pool: Any = client.connection_pool
    options: Mapping[str, Any] = pool.connection_kwargs
    if options.get("credential_provider") is not None or not options.keys() & {"host", "path"}:
        raise ConfigurationError(
            "the address or the credentials of this client change, so none can be taken from it; "
            "give a fixed one"
        )
    login = _login(options.get("username") or "", options.get("password") or "")
    database = options.get("db") or 0
    if "path" in options:
        return f"unix://{login}{options['path']}?db={database}"
    secure = issubclass(pool.connection_class, SSLConnection)
    tls = {name: _word(options[name]) for name in UNDERSTOOD if options.get(name) is not None}
    scheme, query = ("rediss", f"?{urlencode(tls)}") if secure else ("redis", "")
    host = options["host"]
    address = f"[{host}]" if ":" in host else host
    return f"{scheme}://{login}{address}:{options.get('port') or 6379}/{database}{query}"


def _word(value: object) -> str:
    """Return `value` as a URL has it: a constant of `ssl` is `none`, `optional`, `required`."""
    return value.name.removeprefix("CERT_").lower() if isinstance(value, VerifyMode) else str(value)


def _login(user: str, password: str) -> str:
    if not (user or password):
        return ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"
