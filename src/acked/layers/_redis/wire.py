"""One connection to one server: redis-py makes it and signs in, then replies come straight to us.

redis-py awaits each reply through five coroutines and a stream that copies it twice. Here a whole
request, however many replies it has, waits for one future, and its deadline is one timer.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import anyio
import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

__all__ = ("Command", "RedisWire", "close", "packed", "transport_of")

Command: TypeAlias = Sequence[bytes]

_NOTHING: Final = object()
# Its stub is that of a function of one word.
_pack: Final = cast("Callable[[tuple[bytes, ...]], bytes]", cast("Any", hiredis).pack_command)


class RedisWire(asyncio.Protocol):
    """Sends commands and takes their replies, one request at a time (RESP2)."""

    def __init__(self, connection: AbstractConnection) -> None:
        """Take over `connection`, which is signed in and owes no answer."""
        self.connection: Final = connection
        parser: Any = connection._parser  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name: it knows which error is which
        self._parsed = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=cast("Callable[[str], Exception]", parser.parse_error),
            notEnoughData=_NOTHING,
        )
        self._replies: list[object] = []
        self._wanted = 0
        """How long that list is when all has come."""
        self._answered: asyncio.Future[None] | None = None
        self._ended: Exception | None = None
        self._transport = transport_of(connection)
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it neither ended nor was reset, as far as we know."""
        is_quiet = not self._parsed.has_data()  # else an answer to nothing that was asked
        return self._ended is None and is_quiet and not self._transport.is_closing()

    async def ask(self, requests: Sequence[bytes], replies: list[object], until: float) -> None:
        """Send commands and append their replies, errors of the server's as they are.

        Raises what ends it before the last reply, `TimeoutError` at the moment `until`. Whatever
        it raises: the caller closes the connection.
        """
        if not self.is_open:
            raise self._ended or _out_of_step()
        if not requests:  # no reply would ever come
            return
        loop = asyncio.get_running_loop()
        self._replies, self._wanted = replies, len(replies) + len(requests)
        self._answered = answered = loop.create_future()
        deadline = loop.call_at(until, self._late)
        try:
            self._transport.writelines(requests)
            await answered
        finally:
            deadline.cancel()
            self._answered, self._wanted = None, 0

    async def aclose(self) -> None:
        """Close it at once, without waiting for anybody. A no-op the second time."""
        await close(self.connection)

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the server sent; called by the loop."""
        gets: Callable[[], object] = self._parsed.gets
        replies, wanted, answered = self._replies, self._wanted, self._answered
        self._parsed.feed(data)
        try:
            while len(replies) < wanted and (reply := gets()) is not _NOTHING:
                replies.append(reply)
        except Exception as error:  # noqa: BLE001 - else the loop would log it and go on
            self._end(error)
            return
        if answered is None:
            self._end(_out_of_step())
        elif len(replies) == wanted and not answered.done():
            answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the loop."""
        self._end(exc or RedisConnectionError("Connection closed by server."))

    def _late(self) -> None:
        # Race: the last reply may have come in the same turn of the loop.
        if self._answered is not None and not self._answered.done():
            self._end(TimeoutError())

    def _end(self, why: Exception) -> None:
        """Note why nothing comes any more, and tell who waits; the first reason is the one."""
        self._ended = self._ended or why
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(self._ended)


def packed(words: Command) -> bytes:
    """Return a command as the protocol has it: https://redis.io/docs/latest/develop/reference/protocol-spec."""
    return _pack(tuple(words))


def _out_of_step() -> Exception:
    return InvalidResponse("closed, or an answer to nothing that was asked")


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """Return what `connection` writes to."""
    # redis-py has no public name for it; it is called the same since 4.2.
    writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return cast("asyncio.Transport", writer.transport)


async def close(connection: AbstractConnection) -> None:
    """Close `connection` at once, without waiting for anybody. A no-op the second time."""
    transport = transport_of(connection) if connection.is_connected else None
    with anyio.CancelScope(shield=True):
        await connection.disconnect(nowait=True)
    if transport is not None and transport.get_extra_info("ssl_object") is not None:
        transport.abort()  # else it stays open until the server has said good-bye, too
