"""The URL of a client of redis-py, for who has one and no URL."""

from collections.abc import Mapping
from ssl import VerifyMode
from typing import Any
from urllib.parse import quote, urlencode

from redis.asyncio import Redis, SSLConnection

from acked.errors import ConfigurationError

__all__ = ("url_of",)


def url_of(client: Redis) -> str:
    """Return a URL with the address, credentials and TLS of `client`, for a layer over Redis.

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
