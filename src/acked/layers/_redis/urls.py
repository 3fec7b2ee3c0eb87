"""Where a server is and how it is reached: a URL, read once, that shows no secret ever after.

A password with `/`, `?` or `#` in it that is not percent-encoded lands in parts of the URL that
are usually shown. So nothing of a URL is quoted that was not recognised before, and nothing is
raised where the text of the URL is a variable: tracebacks may show those.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from acked.errors import ConfigurationError
from acked.layers._shared.findings import names_this_machine

__all__ = (
    "DRIVER_OPTIONS",
    "NOWHERE",
    "TLS_OPTIONS",
    "RedisUrl",
    "Unreadable",
    "read_url",
    "readable",
)

TLS_OPTIONS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)
DRIVER_OPTIONS: Final = TLS_OPTIONS | {"client_name", "db"}
"""What the query of a URL may tell redis-py; nothing that would undo what is set here."""

UNBOUNDED: Final = 2**31
_VERIFIED: Final = {"required", "optional", "none"}
_SWITCHES: Final = {"0", "1", "true", "false"}


class Unreadable(str):
    """What is wrong with a URL, without quoting it."""

    __slots__ = ()


class RedisUrl:
    """The URL of one server, with nothing in its query but what redis-py shall know."""

    __slots__ = ("_url", "host", "is_socket", "options", "shown", "where")

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._url = url
        self.options: Final = options
        """What stood in the query beside that."""
        self.host: Final = parts.hostname
        self.is_socket: Final = parts.scheme == "unix"
        address = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        self.where: Final = parts.path if self.is_socket else address
        """Host and port, or the path of a socket: fit for errors and reprs."""
        self.shown: Final = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def __repr__(self) -> str:
        return f"<RedisUrl {self.shown}>"

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self._url.startswith("rediss")

    @property
    def is_verified(self) -> bool:
        """Whether TLS is spoken with a server that has to say who it is."""
        asked = dict(parse_qsl(urlsplit(self._url).query))
        is_lax = asked.get("ssl_check_hostname", "true") in {"0", "false"}
        return self.is_encrypted and asked.get("ssl_cert_reqs") in {None, "required"} and not is_lax

    @property
    def is_local(self) -> bool:
        """Whether what is sent does not leave the machine."""
        return self.host is None or names_this_machine(self.host)

    @property
    def has_password(self) -> bool:
        """Whether there is a secret to be kept."""
        return urlsplit(self._url).password is not None

    @property
    def text(self) -> str:
        """The URL itself, secrets included."""
        return self._url

    def at(self, address: str, *, login: bool = True) -> "RedisUrl":
        """Return the URL of another server that is reached the same way: a host and a port.

        Without `login` it has neither user nor password, nor a database.
        """
        parts = urlsplit(self._url)
        if login:
            credentials, at, _ = parts.netloc.rpartition("@")
            return RedisUrl(parts._replace(netloc=f"{credentials}{at}{address}").geturl(), {})
        tls = [(name, value) for name, value in parse_qsl(parts.query) if name in TLS_OPTIONS]
        bare = parts._replace(netloc=address, path="", query=urlencode(tls))
        return RedisUrl(bare.geturl(), {})

    def new_client(self) -> Redis:
        """Return a client that never repeats, never hides a lost connection, times out nothing.

        With a time-out of its own it may swallow a cancellation; deadlines are ours.
        """
        options: dict[str, Any] = {
            **parse_url(self._url),
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "max_connections": UNBOUNDED,
            "protocol": 2,
            "decode_responses": False,
        }
        if not self.is_socket:  # which knows no such thing
            options["socket_keepalive"] = True
        return Redis.from_pool(ConnectionPool(**options))

    @staticmethod
    def new_connection(client: Redis) -> AbstractConnection:
        """Return a connection of our own as `client` has them, not connected yet."""
        pool: Any = client.connection_pool
        make = cast("Callable[[], AbstractConnection]", pool.make_connection)
        return make()


NOWHERE: Final = RedisUrl("redis://", {})
"""What a layer has for its URL until it has read one, so that its repr always works."""


def read_url(url: str, schemes: Mapping[str, str] | None = None) -> RedisUrl | Unreadable:
    """Return what `url` says, or what is wrong with it; `schemes` names redis-py's for ours."""
    known = schemes or {}
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return _BADLY_ENCODED
    if "@" in f"{parts.path}{parts.query}" or parts.fragment or url.endswith("#"):
        return _BADLY_ENCODED
    scheme = known.get(parts.scheme, parts.scheme)
    if scheme not in {"redis", "rediss", "unix"}:
        named = repr(parts.scheme) if "://" in url else "this"
        return Unreadable(
            f"{named} is no scheme of a Redis URL; use redis://, rediss:// for TLS, or unix://"
        )
    if scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        return Unreadable("what follows the port in the Redis URL is no number of a database")
    options = parse_qsl(parts.query, keep_blank_values=True)
    theirs = {name: value for name, value in options if name in DRIVER_OPTIONS}
    ours = {name: value for name, value in options if name not in DRIVER_OPTIONS}
    wrong = _wrong(scheme, theirs)
    plain = parts._replace(scheme=scheme, query=urlencode(theirs)).geturl()
    return Unreadable(wrong) if wrong else RedisUrl(plain, ours)


def readable(found: RedisUrl | Unreadable, own: frozenset[str] = frozenset()) -> RedisUrl:
    """Return what was read; raise `ConfigurationError` for what is wrong, or not in `own`."""
    if isinstance(found, Unreadable):
        raise ConfigurationError(str(found))
    unknown = sorted(found.options.keys() - own)
    if unknown:
        raise ConfigurationError(
            f"unknown option {unknown[0]!r} in {found.shown}; known options: "
            f"{', '.join(sorted(own | DRIVER_OPTIONS))}"
        )
    return found


_BADLY_ENCODED: Final = Unreadable(
    "the Redis URL has no valid host and port; percent-encode special characters of the user and "
    "the password: redis://user:password@host:port/db"
)


def _wrong(scheme: str, options: Mapping[str, str]) -> str:
    """Return what is wrong with options of redis-py's, which says it later and less well."""
    tls = sorted(options.keys() & TLS_OPTIONS)
    if tls and scheme != "rediss":
        return f"{tls[0]} is of no use without TLS; use rediss:// (or rediss-streams://, ...)"
    if options.get("ssl_cert_reqs", "none") not in _VERIFIED:
        return f"ssl_cert_reqs in the Redis URL must be one of {', '.join(sorted(_VERIFIED))}"
    if options.get("ssl_check_hostname", "1").lower() not in _SWITCHES:
        return "ssl_check_hostname in the Redis URL must be true or false"
    if not options.get("db", "0").isdecimal():
        return "db in the Redis URL must be a whole number"
    return ""
