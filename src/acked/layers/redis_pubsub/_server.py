"""redis-py, set up so that it never repeats, never reconnects by itself and never hangs."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from acked.errors import ConfigurationError, ConnectionLost, LayerError
from acked.layers.redis_pubsub._connection import PubSubConnection, is_open

__all__ = ("DRIVER_OPTIONS", "Server", "address_of", "split_url")

DRIVER_OPTIONS: Final = frozenset(
    {
        "client_name",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)
"""What the query of a URL may tell redis-py; nothing that would undo what is set here."""

UNBOUNDED: Final = 2**31
PUBLISHING_CONNECTIONS: Final = 16


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """Return `url` with nothing but redis-py's options in it, and the other options.

    Raises `ConfigurationError` for what is no Redis URL; it never quotes a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(  # not chained: its words quote what stands where the port should
            "the Redis URL has no valid host and port; percent-encode special characters of the "
            "user and the password: redis://user:password@host:port/db"
        ) from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ConfigurationError(
            f"{parts.scheme!r} is no scheme of a Redis URL; use redis://, rediss:// or unix://"
        )
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdecimal():
        raise ConfigurationError(f"/{database} in the Redis URL is no number of a database")
    options = parse_qsl(parts.query, keep_blank_values=True)
    theirs = urlencode([(name, value) for name, value in options if name in DRIVER_OPTIONS])
    ours = {name: value for name, value in options if name not in DRIVER_OPTIONS}
    return parts._replace(query=theirs).geturl(), ours


def address_of(url: str) -> str:
    """Return where `url` leads, fit for errors: a host and a port, or the path of a socket."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


class Server:
    """One Redis server: connections to publish by, and one to listen by. Within one event loop."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self.address: Final = address_of(url)
        self.client: Final = Redis(connection_pool=_pool(url))
        self._pool: Final[ConnectionPool] = self.client.connection_pool
        self._timeout = timeout
        self._turns = anyio.Semaphore(PUBLISHING_CONNECTIONS, fast_acquire=True)
        # Ours, not the pool's: to give one back is one step, which no cancellation can part.
        self._made: dict[AbstractConnection, None] = {}
        self._idle: list[AbstractConnection] = []

    async def check(self) -> None:
        """Return when the server has answered; raise `LayerError` or `ConnectionLost`."""
        with self.translated():
            with anyio.fail_after(self._timeout):
                async with self.connection() as connection:
                    await self.ask(connection, [(b"PING",)], [None])

    async def dial(self, wire: PubSubConnection) -> PubSubConnection:
        """Connect `wire`; raise `LayerError` or `ConnectionLost`."""
        with self.translated():
            with anyio.fail_after(self._timeout):
                connection = self._make()
                try:
                    await _connect(connection)
                    await self.ask(connection, [(b"PING",)], [None])  # loading, or signed out?
                except BaseException:
                    await connection.disconnect(nowait=True)
                    raise
                return wire.take_over(connection)

    async def slots(self) -> object:
        """Return the reply to CLUSTER SLOTS; raise `LayerError` or `ConnectionLost`."""
        return await self.reply(b"CLUSTER", b"SLOTS")

    async def reply(self, *words: bytes) -> object:
        """Send one command and return its reply; raise `LayerError` where that is an error."""
        with self.translated():
            with anyio.fail_after(self._timeout):
                async with self.connection() as connection:
                    await connection.send_packed_command(connection.pack_commands([words]))
                    return cast("object", await connection.read_response())

    def _make(self) -> AbstractConnection:
        make: Callable[[], AbstractConnection] = self._pool.make_connection  # untyped in redis-py
        return make()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AbstractConnection]:
        """Lend a connection; whatever goes wrong meanwhile closes it."""
        async with self._turns:
            connection = self._idle.pop() if self._idle else self._make()
            self._made[connection] = None
            try:
                if not is_open(connection):
                    await connection.disconnect(nowait=True)
                    await _connect(connection)
                yield connection
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                self._idle.append(connection)

    async def ask(
        self,
        connection: AbstractConnection,
        commands: Sequence[tuple[bytes, ...]],
        answers: list[Exception | None],
    ) -> None:
        """Send `commands` at once; put what the server says against each into `answers`.

        Those whose answer never came keep what `answers` held before.
        """
        await connection.send_packed_command(connection.pack_commands(commands))
        for number in range(len(commands)):
            try:
                await connection.read_response()
            except ResponseError as error:
                answers[number] = error
            else:
                answers[number] = None

    async def aclose(self) -> None:
        """Close every connection for publishing. Errors of closing are not raised."""
        for connection in self._made:
            await connection.disconnect(nowait=True)
        with suppress(RedisError, OSError):
            await self.client.aclose()
            await self._pool.disconnect()

    def lost(self, why: object) -> ConnectionLost:
        """Return the error for a connection that broke or could not be made."""
        return ConnectionLost(
            f"no connection to Redis at {self.address} ({why}); check that the server runs and "
            "can be reached from here"
        )

    @contextmanager
    def translated(self) -> Generator[None]:
        """Turn what redis-py raises into what a layer raises."""
        try:
            yield
        except AuthenticationError as error:
            raise LayerError(
                f"Redis at {self.address} refuses us ({error}); check the user and the password "
                "in the URL"
            ) from error
        except (TimeoutError, RedisTimeoutError) as error:
            raise self.lost(f"no answer within {self._timeout:g} s") from error
        except (RedisConnectionError, OSError) as error:
            raise self.lost(error) from error
        except RedisError as error:
            raise LayerError(f"Redis at {self.address} refuses this: {error}") from error


def _pool(url: str) -> ConnectionPool:
    # No time-outs of the driver's: with one it may swallow a cancellation; deadlines are ours.
    # No retries: a command whose answer was lost would be carried out twice.
    options: dict[str, Any] = {
        **parse_url(url),
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "max_connections": UNBOUNDED,
        "protocol": 2,
        "decode_responses": False,
    }
    return ConnectionPool(**options)


async def _connect(connection: AbstractConnection) -> None:
    connect = cast("Callable[[], Awaitable[None]]", connection.connect)  # untyped in redis-py
    await connect()
