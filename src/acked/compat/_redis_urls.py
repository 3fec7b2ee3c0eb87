"""What both originals' backends for Redis have in common: addresses, errors, clients."""

import logging
from collections.abc import Mapping
from functools import partial
from ssl import VerifyMode
from types import SimpleNamespace
from typing import Any, ClassVar, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import Redis, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._drivers import Driver
from acked.compat._source import Source
from acked.errors import ConfigurationError
from acked.layers._redis.urls import TLS_OPTIONS
from acked.layers._shared.urls import without_credentials

__all__ = ("REDIS", "RedisSource", "plain_url", "url_of")

logger = logging.getLogger("acked.compat")

REDIS: Final = Driver(lost=(RedisConnectionError,), refused=(RedisError,))


class RedisSource(Source):
    """A face of `RedisPubSubLayer`, with what subclasses know from the original."""

    driver: ClassVar[Driver] = REDIS

    @property
    def _conn(self) -> "Redis":
        layer: Any = self._channel.layer
        client: Redis = layer.client
        return client

    @property
    def _pubsub(self) -> SimpleNamespace:
        """What is registered by it in `subscribe` belongs to that subscription."""
        return SimpleNamespace(
            subscribe=self._listen,
            unsubscribe=self._unlisten,
            psubscribe=partial(self._listen, patterns=True),
            punsubscribe=partial(self._unlisten, patterns=True),
        )


def plain_url(url: str) -> str:
    """Return `url` with nothing in its query but what our layers understand.

    An application may have any of redis-py's options there (`socket_timeout`, `protocol`,
    `max_connections`, ...); the layers have their own answers to these, and the log says so.
    """
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    unused = sorted(given.difference(TLS_OPTIONS, ("db", "username", "password")))
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
    tls = {name: value for name, value in options.items() if name.startswith("ssl_") and value}
    unknown = sorted(tls.keys() - TLS_OPTIONS)
    if unknown or (tls and not issubclass(pool.connection_class, SSLConnection)):
        raise ConfigurationError(
            f"{(unknown or sorted(tls))[0]} cannot be kept here, and is not dropped; give a rediss "
            f"URL with some of {', '.join(sorted(TLS_OPTIONS))}, or set it for the whole process"
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
    given = {
        one: _word(options[one]) for one in sorted(TLS_OPTIONS) if options.get(one) is not None
    }
    return f"rediss://{address}/{options.get('db') or 0}?{urlencode(given)}"


def _word(value: object) -> str:
    """Return `value` as a URL has it: a constant of `ssl` is `none`, `optional`, `required`."""
    return value.name.removeprefix("CERT_").lower() if isinstance(value, VerifyMode) else str(value)
