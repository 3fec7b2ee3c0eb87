"""The way to one PostgreSQL server: connections, and its errors in our words."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import anyio
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from acked.errors import ConfigurationError, LayerError
from acked.layers._postgres.errors import OF_ASYNCPG, translated
from acked.layers._postgres.tls import TLSOptions
from acked.layers._shared.findings import is_loopback
from acked.layers._shared.urls import split_server_url, without_credentials

__all__ = (
    "OLDEST",
    "AnyConnection",
    "Connection",
    "NotifyConnection",
    "Password",
    "Pool",
    "PostgresServer",
    "close",
    "close_pool",
    "dead_after",
    "has_password",
    "is_local",
    "unless_broken",
)

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    AnyConnection: TypeAlias = Connection | PoolConnectionProxy[asyncpg.Record]
else:  # asyncpg's own classes are not generic
    Connection, Pool = asyncpg.Connection, asyncpg.Pool
    AnyConnection = Connection | PoolConnectionProxy

Password: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A password, or what returns the one that is valid now: asked for each connection."""

OLDEST: Final = 12
"""The oldest major version of PostgreSQL that is spoken to."""

CLOSING_SECONDS: Final = 1.0
CONNECTING_MOMENT: Final = 0.2

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class NotifyConnection(Connection):
    """A connection that hands what it is notified of to `arrived`, at once.

    asyncpg's own way is a round trip and a set of callbacks for each channel, and a turn of the
    loop for each message.
    """

    __slots__ = ("arrived",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.arrived: Callable[[NotifyConnection, str, str], None] = _ignore

    def _process_notification(self, _: int, channel: str, payload: str) -> None:
        self.arrived(self, channel, payload)


def _ignore(*_: object) -> None:
    """Do nothing about a notification."""


class PostgresServer:
    """Where the server is, and connections to it. `timeout` is in seconds, for each connecting.

    Statements stay prepared in a session where `prepares`: a pooler may hand out another one.
    """

    def __init__(
        self,
        dsn: str,
        timeout: float,
        password: Password | None = None,
        *,
        prepares: bool = True,
    ) -> None:
        if not dsn.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(
                "a dsn starts with postgresql://, as in "
                "postgresql://user:password@host:5432/database"
            )
        parts = split_server_url(dsn)
        if parts.netloc.count("@") > 1:  # asyncpg takes the first, and a host of the rest
            raise ConfigurationError(
                f"the dsn for {without_credentials(dsn)} has several @; in user and password "
                "write %40 for it"
            )
        self.address: Final = without_credentials(dsn)
        self.tls: Final = TLSOptions(parts.query)
        self._dsn = dsn
        self.timeout: Final = timeout
        self._password = password
        self._statements = 100 if prepares else 0

    async def pool(self, size: int) -> Pool:
        """Return a pool of up to `size` connections, one of them made already."""
        with self._usable(), self.translated():
            # None at rest, or asyncpg would make them anew behind our back.
            pool: Pool = await asyncpg.create_pool(
                self._dsn,
                ssl=self.tls.context(),
                password=self._password,
                min_size=0,
                max_size=size,
                statement_cache_size=self._statements,
                timeout=self.timeout,
                command_timeout=self.timeout + 1,  # of a request to cancel; ours comes before
                connect=_connect_whole,
                init=keep_alive,
                reset=_as_it_is,
            )
            try:
                async with pool.acquire() as connection:
                    self._check_version(connection)
            except BaseException:
                pool.terminate()
                raise
            return pool

    async def connection(self) -> NotifyConnection:
        """Return a new connection."""
        with self._usable(), self.translated():
            connection: NotifyConnection = await asyncpg.connect(
                self._dsn,
                timeout=self.timeout,
                ssl=self.tls.context(),
                password=self._password,
                connection_class=NotifyConnection,
            )
        await keep_alive(connection)
        return connection

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise `ConnectionLost` or `LayerError` for what asyncpg raises within."""
        try:
            yield
        except OF_ASYNCPG as error:
            raise translated(error, self.address) from error

    def _check_version(self, connection: AnyConnection) -> None:
        version = connection.get_server_version()
        if version.major < OLDEST:
            raise LayerError(
                f"{self.address} is PostgreSQL {version.major}; acked needs {OLDEST} or later"
            )

    @contextmanager
    def _usable(self) -> Generator[None]:
        try:
            yield
        except ValueError as error:
            # asyncpg parses the dsn late, and quotes it, with the password in it.
            raise LayerError(
                f"the dsn for {self.address} cannot be used ({type(error).__name__}); percent-"
                "encode special characters in user and password, and check port and options"
            ) from None


@contextmanager
def dead_after(seconds: float, connection: AnyConnection) -> Generator[None]:
    """Terminate `connection` if what is within takes longer, so that it fails.

    Not asyncpg's timeout: that sends the server a request to cancel, and waits for it in vain.
    """
    loop = asyncio.get_running_loop()
    alarm = loop.call_later(seconds, connection.terminate)
    try:
        yield
    except AttributeError as error:
        # Race: between two steps of one statement asyncpg does not look whether it is still there.
        if loop.time() < alarm.when():
            raise
        words = "the connection was given up in the middle of a statement"
        raise asyncpg.ConnectionDoesNotExistError(words) from error
    finally:
        alarm.cancel()


@contextmanager
def unless_broken(connection: AnyConnection) -> Generator[None]:
    """Terminate `connection` when asyncpg is at odds with it: the pool must not keep it."""
    try:
        yield
    except asyncpg.InternalClientError:
        connection.terminate()
        raise


def is_local(connection: Connection) -> bool:
    """Say whether the other end of `connection` is on this machine."""
    peer: object = _of_transport(connection, "peername")
    # Of a socket of the file system it is a word, of the network a tuple.
    return not isinstance(peer, tuple) or is_loopback(str(cast("tuple[object, ...]", peer)[0]))


def has_password(connection: Connection) -> bool:
    """Say whether a password is at hand for a server that asks for one."""
    # It may come from the dsn, the environment or a file: asyncpg alone knows.
    return bool(getattr(getattr(connection, "_params", None), "password", None))


def _of_transport(connection: Connection, name: str) -> Any:
    # asyncpg has no other way to its socket.
    transport: Any = getattr(connection, "_transport", None)
    return transport.get_extra_info(name) if transport is not None else None


async def keep_alive(connection: Connection) -> None:
    """Let the kernel notice a peer that is gone, also while nothing is asked of it."""
    sock = _of_transport(connection, "socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, number in KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), number)


async def _connect_whole(*args: Any, **options: Any) -> Connection:
    """Connect; cancelled meanwhile, first give it a moment to be done, then close what came of it.

    Interrupted half-way, asyncpg leaves a future behind whose exception nobody ever asks for.
    """
    connecting: asyncio.Task[Connection] = asyncio.create_task(asyncpg.connect(*args, **options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with anyio.move_on_after(CONNECTING_MOMENT, shield=True):
            await asyncio.wait([connecting])
        if not connecting.cancel() and connecting.exception() is None:
            connecting.result().terminate()
        raise


async def _as_it_is(_: Connection) -> None:
    """Spare the pool a round trip for each publish: our sessions have no state to reset."""


async def close(connection: Connection) -> None:
    """Close `connection`, politely if the server answers soon."""
    try:
        with dead_after(CLOSING_SECONDS, connection):
            await connection.close()
    except OF_ASYNCPG:
        connection.terminate()


async def close_pool(pool: Pool) -> None:
    """Close `pool`, politely if the server answers soon."""
    alarm = asyncio.get_running_loop().call_later(CLOSING_SECONDS, pool.terminate)
    try:
        await pool.close()
    except OF_ASYNCPG:
        pool.terminate()
    finally:
        alarm.cancel()
