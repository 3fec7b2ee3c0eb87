"""The way to one PostgreSQL server: connections, and its errors in our words."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from acked.errors import ConfigurationError, ConnectionLost, LayerError
from acked.layers._shared.findings import is_loopback
from acked.layers._shared.urls import split_server_url, without_credentials
from acked.layers.postgres_notify._tls import TLSOptions

__all__ = (
    "OLDEST",
    "AnyConnection",
    "Connection",
    "Password",
    "Pool",
    "PostgresServer",
    "close",
    "close_pool",
    "dead_after",
    "has_password",
    "is_local",
    "unless_broken",
    "without_pooler",
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

_OF_ASYNCPG: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

_WORTH_ANOTHER_TRY: Final = (
    asyncpg.PostgresConnectionError,  # class 08, and what asyncpg raises for a lost connection
    asyncpg.CannotConnectNowError,  # starting up or shutting down
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,  # the connection was closed under the operation
    asyncpg.InternalClientError,  # or the server is just saying that it closes it
    OSError,
    TimeoutError,
)

_REFUSALS: Final[Mapping[type[Exception], str]] = {
    asyncpg.ClientConfigurationError: "the dsn for {address} cannot be used; check its options",
    asyncpg.InvalidAuthorizationSpecificationError: (
        "{address} does not let us in (SQLSTATE {code}); check user, password, sslmode and the "
        "server's pg_hba.conf"
    ),
    asyncpg.ReadOnlySQLTransactionError: (
        "{address} is a standby, which can neither LISTEN nor NOTIFY; give the address of the "
        "primary, or those of all servers and target_session_attrs=primary"
    ),
    ssl.SSLCertVerificationError: (
        "the TLS certificate of {address} is not trusted; check the host's name, and give the file "
        "of its authority as sslrootcert (sslmode=disable where the network is trusted)"
    ),
}
"""What another try would not change; looked up before the wider classes below."""

_NO_TLS: Final = (
    "{address} has no TLS, which sslmode asks for; switch it on there (ssl=on), or give "
    "sslmode=disable where the network is trusted"
)

_SHARED_STATEMENTS: Final = (
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)


class PostgresServer:
    """Where the server is, and connections to it. `timeout` is in seconds, for each connecting."""

    def __init__(self, dsn: str, timeout: float, password: Password | None = None) -> None:
        if not dsn.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(
                "the dsn of a PostgresNotifyLayer starts with postgresql://, as in "
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
        self._timeout = timeout
        self._password = password

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
                timeout=self._timeout,
                command_timeout=self._timeout + 1,  # of a request to cancel; ours comes before
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

    async def connection(self) -> Connection:
        """Return a new connection."""
        with self._usable(), self.translated():
            connection: Connection = await asyncpg.connect(
                self._dsn,
                timeout=self._timeout,
                ssl=self.tls.context(),
                password=self._password,
            )
        await keep_alive(connection)
        return connection

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise `ConnectionLost` or `LayerError` for what asyncpg raises within."""
        try:
            yield
        except _OF_ASYNCPG as error:
            raise self.in_our_words(error) from error

    def in_our_words(self, error: Exception) -> LayerError:
        """Return what `error` means for us; its words never have the user or password in them."""
        if isinstance(error, _SHARED_STATEMENTS):
            return without_pooler(self.address)
        code = getattr(error, "sqlstate", None) or "no SQLSTATE"
        for kind, words in _REFUSALS.items():
            if isinstance(error, kind):
                return LayerError(words.format(address=self.address, code=code))
        if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
            return LayerError(_NO_TLS.format(address=self.address))
        if isinstance(error, _WORTH_ANOTHER_TRY):
            return ConnectionLost(
                f"no connection to {self.address} ({_cause(error)}); check that PostgreSQL runs "
                "there and can be reached"
            )
        return LayerError(f"{self.address} refused: {error} (SQLSTATE {code})")

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


def without_pooler(address: str) -> LayerError:
    """Return the error for a pooler that hands out another session for each transaction."""
    return LayerError(
        f"{address} is a pooler that shares sessions between transactions (as PgBouncer's "
        "pool_mode=transaction does), which swallows LISTEN; give the address of PostgreSQL "
        "itself, or of a pool with pool_mode=session"
    )


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}"


@contextmanager
def dead_after(seconds: float, connection: AnyConnection) -> Generator[None]:
    """Terminate `connection` if what is within takes longer, so that it fails.

    Not asyncpg's timeout: that sends the server a request to cancel, and waits for it in vain.
    """
    alarm = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
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
    peer = _of_transport(connection, "peername")
    return not isinstance(peer, tuple) or is_loopback(peer[0])


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
    except _OF_ASYNCPG:
        connection.terminate()


async def close_pool(pool: Pool) -> None:
    """Close `pool`, politely if the server answers soon."""
    alarm = asyncio.get_running_loop().call_later(CLOSING_SECONDS, pool.terminate)
    try:
        await pool.close()
    except _OF_ASYNCPG:
        pool.terminate()
    finally:
        alarm.cancel()
