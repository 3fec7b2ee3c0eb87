"""Addresses of Redis: as redis-py takes them, and as our layers do."""

import logging
from collections.abc import Mapping
from ssl import VerifyMode
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import Redis, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._drivers import Driver
from acked.errors import ConfigurationError
from acked.layers._shared.urls import without_credentials

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
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    unused = sorted(given.difference(UNDERSTOOD, ("db", "username", "password")))
    if unused:
        options, where = ", ".join(unused), without_credentials(url)
        logger.info("%s: acked has no use for these options, and its own way: %s", where, options)
    return url_of(cast("Any", Redis).from_url(url))


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
    login, user, password = "", options.get("username"), options.get("password")
    if user or password:
        login = f"{quote(user or '', safe='')}:{quote(password or '', safe='')}@"
    if "path" in options:
        return f"unix://{login}{options['path']}?db={options.get('db') or 0}"
    host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
    address = f"{login}{host}" + (f":{port}" if (port := options.get("port")) else "")
    if not issubclass(pool.connection_class, SSLConnection):
        return f"redis://{address}/{options.get('db') or 0}"
    tls = {name: _word(options[name]) for name in UNDERSTOOD if options.get(name) is not None}
    return f"rediss://{address}/{options.get('db') or 0}?{urlencode(tls)}"


def _word(value: object) -> str:
    """Return `value` as a URL has it: a constant of `ssl` is `none`, `optional`, `required`."""
    return value.name.removeprefix("CERT_").lower() if isinstance(value, VerifyMode) else str(value)
