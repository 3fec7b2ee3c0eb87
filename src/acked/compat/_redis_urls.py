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

from acked import ConfigurationError
from acked.compat._errors import Driver
from acked.compat._source import Source

__all__ = ("REDIS", "RedisSource", "plain_url", "url_of")

logger = logging.getLogger("acked.compat")

REDIS: Final = Driver(lost=(RedisConnectionError,), refused=(RedisError,))
USED: Final = {"db", "username", "password"}


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
    """Return `url` with nothing in its query but TLS, which is all that our layers know.

    They have their own answers to redis-py's other options, and the log says so.
    """
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    if unused := sorted(name for name in given - USED if not name.startswith("ssl_")):
        logger.info("acked has its own way instead of these options: %s", ", ".join(unused))
    return url_of(cast("Any", Redis).from_url(url))


def url_of(client: "Redis") -> str:
    """Return a URL with the address, credentials and TLS of `client`.

    Raises `ConfigurationError` for a client whose address is not fixed: a sentinel's, one with a
    provider of credentials. What cannot be kept of TLS is for the layer to refuse.
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
    port = f":{options['port']}" if options.get("port") else ""
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    tls = urlencode(
        {name: _word(options[name]) for name in sorted(options) if _is_tls(name, options)}
    )
    return f"{scheme}://{login}{host}{port}/{options.get('db') or 0}?{tls}".removesuffix("?")


def _is_tls(name: str, options: Mapping[str, Any]) -> bool:
    is_set = name == "ssl_check_hostname" or options[name] is not False
    return name.startswith("ssl_") and options[name] is not None and is_set


def _word(value: object) -> str:
    """Return `value` as a URL has it: a constant of `ssl` is `none`, `optional`, `required`."""
    return value.name.removeprefix("CERT_").lower() if isinstance(value, VerifyMode) else str(value)
