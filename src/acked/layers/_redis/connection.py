"""The way to the server: connections, deadlines, and errors translated. The seam to redis-py.

Commands go out packed, and replies come back as they are: no response callbacks, no retries, no
timeouts of redis-py. Its socket timeout loses a cancellation on Python 3.11 that comes in the
tick in which a write completes, so every exchange has a deadline of ours instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, Self, TypeAlias, cast
from urllib.parse import urlsplit

import anyio
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.scripts import ScriptCall

__all__ = (
    "CLOSE_WITHIN",
    "Command",
    "CommandRunner",
    "Connection",
    "Exchange",
    "Reader",
    "Run",
    "group_is_missing",
    "is_unanswered",
    "run_scripts",
    "says",
)

Command: TypeAlias = Sequence[bytes]
Exchange: TypeAlias = Callable[[Sequence[Command]], Awaitable[list[object]]]
"""Sends commands and returns a reply for each; a `LayerError` where it is one."""
Run: TypeAlias = Callable[[Sequence[ScriptCall]], Awaitable[list[object]]]
"""The same for scripts."""

SLOWEST_LINK: Final = 1024 * 1024
"""Bytes a second: a request has so much more time the larger it is."""
CLOSE_WITHIN: Final = 2.0
"""Seconds for what is said and waited for when closing: a server that hangs is left alone."""

_NOT_NOW: Final = (AskError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
"""Answers while masters or slots move, after which the same may work."""
_REFUSED: Final = (AuthenticationError, NoPermissionError)


class _Connection(Protocol):
    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...  # noqa: FBT001, FBT002 - redis-py's

    async def send_packed_command(self, command: list[bytes]) -> None: ...

    async def read_response(self) -> object: ...


class _Pool(Protocol):
    def make_connection(self) -> _Connection: ...

    async def get_connection(self) -> _Connection: ...

    async def release(self, connection: _Connection) -> None: ...

    async def disconnect(self, inuse_connections: bool = True) -> None: ...  # noqa: FBT001, FBT002 - redis-py's


class CommandRunner(ABC):
    """What follows from `exchange` alone."""

    @abstractmethod
    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """Send `commands` and return a reply for each, in the same order."""

    async def run(self, calls: Sequence[ScriptCall]) -> list[object]:
        """Run scripts as `exchange` does commands."""
        return await run_scripts(self.exchange, calls)

    async def ask(self, *words: bytes) -> object:
        """Send one command and return its reply; raises `LayerError` if that is one."""
        (reply,) = await self.exchange([words])
        if isinstance(reply, LayerError):
            raise reply
        return reply


class Connection(CommandRunner):
    """One pooled client, and everything that is short: publishing, settling, extending.

    `is_node` says that it is one node of a cluster, so that "moved" is news and no mistake.
    """

    def __init__(
        self, url: str, *, timeout: float, connections: int, is_node: bool = False
    ) -> None:
        self.where: Final = _address(url)
        self.timeout: Final = timeout
        self._is_node = is_node
        pool = _pool(url, timeout)
        self.client: Final[Redis] = Redis.from_pool(pool)
        self._pool = cast("_Pool", pool)
        self._slots = anyio.Semaphore(connections)
        self._is_closed = False

    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """Send `commands` at once, and return a reply for each, in the same order.

        A reply that is an error is returned as a `LayerError`, one that did not come as
        `ConnectionLost`. Raises either when nothing was sent at all.
        """
        packed = [_packed(command) for command in commands]
        replies: list[object] = []
        sent = False
        try:
            with anyio.fail_after(self.timeout + sum(map(len, packed)) / SLOWEST_LINK):
                async with self._slots:
                    connection = await self._pool.get_connection()
                    sent = True
                    try:
                        await self.talk(connection, packed, replies)
                    finally:
                        # Race: a cancellation in release() would take the connection out of use.
                        with anyio.CancelScope(shield=True):
                            await self._pool.release(connection)
        except (RedisError, OSError) as error:
            lost = self.translated(error)
            if not sent:
                raise lost from error
            replies += [lost] * (len(commands) - len(replies))
        finally:
            if self._is_closed:
                # A feed that is left after its layer connects anew, and nobody else would close.
                await self._close(self._pool.disconnect(inuse_connections=False))
        return replies

    async def home(self, key: bytes) -> Self:
        """Return the server that has `key`: this one has all."""
        del key
        return self

    def together(self, topics: Iterable[str]) -> Sequence[Sequence[str]]:
        """Return `topics` by what one read can wait for: all at once."""
        return [list(topics)]

    async def servers(self) -> Sequence[Self]:
        """Return the only one."""
        return [self]

    async def slots(self) -> object:
        """Return the reply to CLUSTER SLOTS."""
        return await self.ask(b"CLUSTER", b"SLOTS")

    async def aclose(self) -> None:
        """Close every connection of the pool, and what is opened late as soon as it was used."""
        self._is_closed = True
        await self._close(self.client.aclose(close_connection_pool=True))

    async def _close(self, closing: Awaitable[None]) -> None:
        """Wait for `closing`, not for long; its errors are of no interest any more."""
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            try:
                await closing
            except (RedisError, OSError):
                return

    def connection(self) -> _Connection:
        """Return a connection outside of the pool, not connected yet."""
        return self._pool.make_connection()

    async def talk(
        self, connection: _Connection, packed: list[bytes], replies: list[object]
    ) -> None:
        """Send commands and append their replies; a broken connection closes itself."""
        await connection.send_packed_command(packed)
        for _ in packed:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(self.translated(error))
        if any(isinstance(reply, ConnectionLost) for reply in replies):
            # A demoted master answers for ever that it is one: look anew who is at the address.
            await connection.disconnect(nowait=True)

    def translated(self, error: Exception) -> LayerError:
        """Return what `error` of redis-py means to the engine, in one line without secrets."""
        words = (str(error).splitlines() or [""])[0] or f"no answer in {self.timeout:g} s"
        if isinstance(error, _REFUSED) or words.startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
            meaning = LayerError(
                f"Redis at {self.where} refuses us ({words}); check user and password in the "
                "URL, and in the server's ACL what that user may do"
            )
        elif isinstance(error, AskError) and not self._is_node:
            meaning = LayerError(
                f"Redis at {self.where} is one node of a cluster ({words}); add cluster=1 to the "
                "options of the URL"
            )
        elif isinstance(error, _NOT_NOW) or not isinstance(error, ResponseError):
            meaning = ConnectionLost(
                f"no connection to Redis at {self.where} ({words}); check the address, and that "
                "the server runs and can be reached"
            )
        else:
            meaning = LayerError(f"Redis at {self.where} answered with an error: {words}")
        meaning.__cause__ = error
        return meaning


class Reader:
    """The connection that one feed reads with, since a blocking read occupies it."""

    def __init__(self, home: Callable[[], Awaitable[Connection]]) -> None:
        """Make a reader of the server that `home` returns when it is opened."""
        self._home = home
        self._link: Connection | None = None
        self._connection: _Connection | None = None
        self._name: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether there is a connection; it may be a broken one that nobody has used yet."""
        return self._connection is not None

    async def open(self) -> None:
        """Connect; after that nothing is delivered to the connection that was open before."""
        link = await self._home()
        if link is not self._link:
            self._link, self._name = link, []  # the old name is another server's
        connection = self._connection = link.connection()
        try:
            with anyio.fail_after(link.timeout):
                await connection.connect()
            name = await self.exchange([*self.farewell(), (b"CLIENT", b"INFO")])
        except BaseException as error:
            await self.close()
            if isinstance(error, RedisError | OSError):
                raise link.translated(error) from error
            raise
        self._name = _client_name(name[-1])

    def farewell(self) -> list[Command]:
        """Return the command that ends our last connection at the server, if there was one.

        Race: the server may not have noticed yet that we closed a connection with a blocked read.
        An entry that it delivers there would belong to us, and be seen by nobody until its lease
        ends. Both id and address are given, since ids begin anew when the server does.
        """
        return [(b"CLIENT", b"KILL", *self._name)] if self._name else []

    async def exchange(self, commands: Sequence[Command], wait: float = 0.0) -> list[object]:
        """Send `commands`, of which the server may block one for `wait` seconds.

        Raises `ConnectionLost`. If anything but the replies ends it, the connection is closed.
        """
        replies: list[object] = []
        packed = [_packed(command) for command in commands]
        assert self._link is not None  # noqa: S101 - the feed opens it first
        assert self._connection is not None  # noqa: S101
        try:
            with anyio.fail_after(self._link.timeout + wait):
                await self._link.talk(self._connection, packed, replies)
        except BaseException as error:
            await self.close()
            if isinstance(error, RedisError | OSError):
                raise self._link.translated(error) from error
            raise
        return replies

    async def run(self, calls: Sequence[ScriptCall]) -> list[object]:
        """Run scripts as `exchange` does commands."""
        return await run_scripts(self.exchange, calls)

    async def leave(self) -> None:
        """Close the connection, and let the server forget what it was waiting for."""
        await self.close()
        farewell = self.farewell()
        if farewell and self._link is not None:
            await self._link.exchange(farewell)

    async def close(self) -> None:
        """Close the connection at once, without waiting for anybody. A no-op the second time."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True):
                await connection.disconnect(nowait=True)


def _pool(url: str, timeout: float) -> ConnectionPool:
    make = cast("Callable[..., ConnectionPool]", ConnectionPool.from_url)  # pyright: ignore[reportUnknownMemberType] - redis-py leaves the options untyped
    return make(
        url,
        max_connections=10
        ** 6,  # ours are bounded by Connection's slots, the user's are his own affair
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=timeout,
        socket_keepalive=True,
        decode_responses=False,
        protocol=2,
    )


async def run_scripts(exchange: Exchange, calls: Sequence[ScriptCall]) -> list[object]:
    """Run scripts by their digests, and by their sources where the server forgot them."""
    replies = await exchange([call.by_digest() for call in calls])
    unknown = [i for i, reply in enumerate(replies) if _is_unknown_script(reply)]
    if unknown:
        try:
            again = await exchange([calls[i].by_source() for i in unknown])
        except LayerError as error:
            again = [error] * len(unknown)
        for i, reply in zip(unknown, again, strict=True):
            replies[i] = reply
    return replies


def says(reply: object, *words: str) -> bool:
    """Say whether `reply` is an error of the server's with one of `words` in it."""
    if not isinstance(reply, LayerError):
        return False
    said = str(reply.__cause__)
    return any(word in said for word in words)


def is_unanswered(reply: object) -> bool:
    """Say whether `reply` stands for one that did not come: then the command may have worked."""
    return isinstance(reply, ConnectionLost) and not isinstance(reply.__cause__, ResponseError)


def group_is_missing(reply: object) -> bool:
    """Say whether `reply` means that somebody deleted the group or the stream."""
    return says(reply, "NOGROUP", "UNBLOCKED", "no such key", "requires the key to exist")


def _is_unknown_script(reply: object) -> bool:
    return isinstance(reply, LayerError) and isinstance(reply.__cause__, NoScriptError)


def _packed(words: Command) -> bytes:
    """Return a command as the protocol has it: https://redis.io/docs/latest/develop/reference/protocol-spec."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _client_name(info: object) -> list[bytes]:
    """Return the filters of CLIENT KILL for the client that CLIENT INFO told of."""
    if not isinstance(info, bytes):
        return []  # not allowed to us
    told: dict[bytes, bytes] = {}
    for part in info.split():
        name, _, value = part.partition(b"=")
        told[name] = value
    return [b"ID", told[b"id"], b"ADDR", told[b"addr"]]


def _address(url: str) -> str:
    """Return host and port, or the path of a socket: fit for errors and reprs."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
