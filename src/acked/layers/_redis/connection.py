"""Connections to one server: what is short goes over a few that are shared. The seam to redis-py.

Commands go out packed, and replies come back as they are: no response callbacks, no retries, no
timeouts of redis-py. Its socket timeout loses a cancellation on Python 3.11 that comes in the
tick in which a write completes, so every exchange has a deadline of ours instead. The pool is ours
as well: to give a connection back is one step, which no cancellation can part.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Self, TypeAlias, cast

import anyio
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.errors import ends_connection, lost, translated
from acked.layers._redis.scripts import ScriptCall, run_scripts
from acked.layers._redis.urls import RedisUrl

__all__ = ("CLOSE_WITHIN", "Command", "CommandRunner", "Connection", "is_open", "transport_of")

Command: TypeAlias = Sequence[bytes]

SLOWEST_LINK: Final = 1024 * 1024
"""Bytes a second: a request has so much more time the larger it is."""
CLOSE_WITHIN: Final = 2.0
"""Seconds for what is said and waited for when closing: a server that hangs is left alone."""

_REFUSALS: Final = (ResponseError, BusyLoadingError, AuthenticationError)
"""What redis-py raises for a reply that is an error; the others are no replies."""


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
    """A few connections to one server, for everything that is short.

    `is_node` says that it is one node of a cluster, so that "moved" is news and no mistake.
    """

    def __init__(
        self, url: RedisUrl, *, timeout: float, connections: int, is_node: bool = False
    ) -> None:
        self.where: Final = url.where
        self.timeout: Final = timeout
        self.client: Final[Redis] = url.new_client()
        """For the user: it has connections of its own."""
        self._is_node = is_node
        self._is_encrypted = url.is_encrypted
        self._turns = anyio.Semaphore(connections, fast_acquire=True)
        self._idle: list[AbstractConnection] = []
        self._made: dict[AbstractConnection, None] = {}
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
                async with self._turns, self._lent() as connection:
                    sent = True
                    await self.talk(connection, packed, replies)
        except (RedisError, OSError) as error:
            meaning = self.translated(error)
            if not sent:
                raise meaning from error
            replies += [meaning] * (len(commands) - len(replies))
        finally:
            if self._is_closed:
                # A feed that is left after its layer connects anew, and nobody else would close.
                await self._disconnect()
        return replies

    async def home(self, key: bytes | None) -> Self:
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
        """Close every connection, and what is opened late as soon as it was used."""
        self._is_closed = True
        await self._disconnect()
        with anyio.move_on_after(CLOSE_WITHIN, shield=True), suppress(RedisError, OSError):
            await self.client.aclose(close_connection_pool=True)

    async def opened(self, first: Sequence[Command]) -> tuple[AbstractConnection, list[object]]:
        """Return a connection for the caller alone, and the replies to his `first` commands.

        Raises `LayerError` if the server cannot be reached, refuses us, or does not serve now;
        what it has against one of the commands is a reply.
        """
        connection = RedisUrl.new_connection(self.client)
        replies: list[object] = []
        try:
            with anyio.fail_after(self.timeout):
                await _connect(connection)
                await self.talk(connection, [_packed(command) for command in first], replies)
        except BaseException as error:
            await close(connection)
            if isinstance(error, RedisError | OSError):
                raise self.translated(error) from error
            raise
        for reply in replies:
            if ends_connection(reply):
                raise cast("LayerError", reply)  # `talk` has closed it
        return connection, replies

    async def talk(
        self, connection: AbstractConnection, packed: list[bytes], replies: list[object]
    ) -> None:
        """Send commands and append their replies; what breaks meanwhile the caller has to close."""
        await connection.send_packed_command(packed)
        for _ in packed:
            try:
                # redis-py would hang up on a refusal to sign us in, with replies to come.
                replies.append(
                    cast("object", await connection.read_response(disconnect_on_error=False))
                )
            except _REFUSALS as error:
                replies.append(self.translated(error))
        if any(map(ends_connection, replies)):
            # A demoted master answers for ever that it is one: look anew who is at the address.
            await close(connection)

    async def talk_alone(
        self, connection: AbstractConnection, commands: Sequence[Command], wait: float
    ) -> list[object]:
        """Send `commands` over a connection of the caller's; the server may block for `wait`.

        Raises `ConnectionLost`. Whatever ends it before the last reply closes the connection.
        """
        replies: list[object] = []
        try:
            with anyio.fail_after(self.timeout + wait):
                await self.talk(connection, [_packed(command) for command in commands], replies)
        except BaseException as error:
            await close(connection)
            if isinstance(error, RedisError | OSError):
                raise self.translated(error) from error
            raise
        return replies

    def translated(self, error: Exception) -> LayerError:
        """Return what `error` of redis-py means."""
        return translated(
            error,
            self.where,
            timeout=self.timeout,
            is_node=self._is_node,
            is_encrypted=self._is_encrypted,
        )

    def lost(self, why: object) -> ConnectionLost:
        """Return the error for a connection that broke or could not be made."""
        return lost(self.where, why)

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[AbstractConnection]:
        """Lend a connection; whatever goes wrong meanwhile closes it."""
        connection = self._idle.pop() if self._idle else RedisUrl.new_connection(self.client)
        self._made[connection] = None
        try:
            if not is_open(connection):
                await close(connection)
                await _connect(connection)
            yield connection
        except BaseException:
            await close(connection)
            raise
        finally:
            self._idle.append(connection)

    async def _disconnect(self) -> None:
        for connection in self._made:
            await close(connection)


def is_open(connection: AbstractConnection) -> bool:
    """Say whether `connection` is connected, and neither ended nor reset, as far as we know."""
    reader = connection._reader  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return reader is not None and not reader.at_eof() and not transport_of(connection).is_closing()


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """Return what `connection` writes to."""
    # redis-py has no public name for it; it is called the same since 4.2, like the reader above.
    writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return cast("asyncio.Transport", writer.transport)


async def close(connection: AbstractConnection) -> None:
    """Close `connection` at once, without waiting for anybody. A no-op the second time."""
    transport = transport_of(connection) if connection.is_connected else None
    with anyio.CancelScope(shield=True):
        await connection.disconnect(nowait=True)
    if transport is not None and transport.get_extra_info("ssl_object") is not None:
        transport.abort()  # else it stays open until the server has said good-bye, too


async def _connect(connection: AbstractConnection) -> None:
    connect = cast("Callable[[], Awaitable[None]]", connection.connect)  # untyped in redis-py
    await connect()


def _packed(words: Command) -> bytes:
    """Return a command as the protocol has it: https://redis.io/docs/latest/develop/reference/protocol-spec."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
