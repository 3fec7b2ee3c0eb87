"""Connections to one server: what is short goes over a few that are shared. The seam to redis-py.

Commands go out packed, and replies come back as they are: no response callbacks, no retries, no
timeouts of redis-py. Its socket timeout loses a cancellation on Python 3.11 that comes in the
tick in which a write completes, so every exchange has a deadline of ours (`_redis.wire`).
The pool is ours as well: to give a connection back is one step, which no cancellation can part.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Self, cast

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.errors import ends_connection, lost, translated
from acked.layers._redis.scripts import ScriptCall, run_scripts
from acked.layers._redis.urls import RedisUrl
from acked.layers._redis.wire import Command, RedisWire, close, packed

__all__ = ("CLOSE_WITHIN", "Command", "CommandRunner", "Connection")

SLOWEST_LINK: Final = 1024 * 1024
"""Bytes a second: a request has so much more time the larger it is."""
CLOSE_WITHIN: Final = 2.0
"""Seconds for what is said and waited for when closing: a server that hangs is left alone."""


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
        self._idle: list[RedisWire] = []
        self._made: dict[RedisWire, None] = {}
        self._is_closed = False

    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """Send `commands` at once, and return a reply for each, in the same order.

        A reply that is an error is returned as a `LayerError`, one that did not come as
        `ConnectionLost`. Raises either when nothing was sent at all.
        """
        requests = [packed(command) for command in commands]
        patience = self.timeout + sum(map(len, requests)) / SLOWEST_LINK
        until = _now() + patience
        replies: list[object] = []
        wire = await self._lent(until)
        try:
            await self._talk(wire, requests, replies, until)
        except (RedisError, OSError) as error:
            replies += [self.translated(error)] * (len(commands) - len(replies))
        finally:
            # Also one that was lost: the others may be, too, so the next request connects anew.
            self._idle.append(wire)
            self._turns.release()
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

    async def opened(self, first: Sequence[Command]) -> tuple[RedisWire, list[object]]:
        """Return a connection for the caller alone, and the replies to his `first` commands.

        Raises `LayerError` if the server cannot be reached, refuses us, or does not serve now;
        what it has against one of the commands is a reply.
        """
        until = _now() + self.timeout
        wire = await self._connected(until)
        replies = await self._alone(wire, first, until)
        for reply in replies:
            if ends_connection(reply):
                raise cast("LayerError", reply)  # `_talk` has closed it
        return wire, replies

    async def talk_alone(
        self, wire: RedisWire, commands: Sequence[Command], wait: float
    ) -> list[object]:
        """Send `commands` over a connection of the caller's; the server may block for `wait`.

        Raises `ConnectionLost`. Whatever ends it before the last reply closes the connection.
        """
        return await self._alone(wire, commands, _now() + self.timeout + wait)

    async def _alone(
        self, wire: RedisWire, commands: Sequence[Command], until: float
    ) -> list[object]:
        replies: list[object] = []
        try:
            await self._talk(wire, [packed(command) for command in commands], replies, until)
        except (RedisError, OSError) as error:
            raise self.translated(error) from error
        return replies

    async def _talk(
        self, wire: RedisWire, requests: Sequence[bytes], replies: list[object], until: float
    ) -> None:
        """Send commands and append their replies; whatever breaks meanwhile closes `wire`."""
        try:
            await wire.ask(requests, replies, until)
        except BaseException:
            await wire.aclose()
            raise
        finally:
            errors = [i for i, reply in enumerate(replies) if isinstance(reply, Exception)]
            for i in errors:
                replies[i] = self.translated(cast("Exception", replies[i]))
        if any(ends_connection(replies[i]) for i in errors):
            # A demoted master answers for ever that it is one: look anew who is at the address.
            await wire.aclose()

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

    async def _lent(self, until: float) -> RedisWire:
        """Wait for a turn, and return a connection to use in it; raise `LayerError`."""
        try:
            self._turns.acquire_nowait()
        except anyio.WouldBlock:
            await self._turn(until)
        try:
            if self._idle:
                wire = self._idle.pop()
                if wire.is_open:
                    return wire
                await self._forget(wire)
            wire = await self._connected(until)
        except BaseException:
            self._turns.release()
            raise
        self._made[wire] = None
        return wire

    async def _turn(self, until: float) -> None:
        try:
            with anyio.fail_after(until - _now()):
                await self._turns.acquire()
        except TimeoutError as error:
            raise self.translated(error) from error

    async def _connected(self, until: float) -> RedisWire:
        """Connect and sign in; raise `LayerError`, and nothing is left open."""
        connection = RedisUrl.new_connection(self.client)
        connect = cast("Callable[[], Awaitable[None]]", connection.connect)  # untyped in redis-py
        try:
            with anyio.fail_after(until - _now()):
                await connect()
            return RedisWire(connection)
        except BaseException as error:
            await close(connection)
            if isinstance(error, RedisError | OSError):
                raise self.translated(error) from error
            raise

    async def _forget(self, wire: RedisWire) -> None:
        self._made.pop(wire, None)
        await wire.aclose()

    async def _disconnect(self) -> None:
        for wire in tuple(self._made):
            await self._forget(wire)


def _now() -> float:
    return asyncio.get_running_loop().time()
