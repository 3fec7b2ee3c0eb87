"""The listening connection: redis-py makes it and signs in, then its bytes come straight to us.

Why not redis-py's own reading: it awaits through six coroutines for each message, and connects
again by itself without a word. Here a connection is made once, ends once, and says so.

Rules (RESP2, which every server speaks):

1. A reply is either a message or the answer to the oldest command that is not answered yet.
   SUBSCRIBE is answered once for each channel, or once for all by an error.
2. At most `SLICE` replies are handled in one turn of the loop; meanwhile nothing more is read, so
   that readers of small subscriptions get their turn and the buffer here stays small.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeAlias, cast

import hiredis
from redis.asyncio.connection import AbstractConnection

from acked.errors import LayerError
from acked.layers._redis.connection import Connection
from acked.layers._redis.wire import packed, transport_of

__all__ = ("NAMED", "PATTERN", "SHARDED", "Answered", "Kind", "PubSubConnection", "dial")

Kind: TypeAlias = bytes
"""What stands before the words of a kind of subscription: `PSUBSCRIBE`, `pmessage`."""

NAMED: Final[Kind] = b""
PATTERN: Final[Kind] = b"p"
SHARDED: Final[Kind] = b"s"

SLICE: Final = 32
"""Replies in one turn of the loop: fewer than a small subscription holds, more than one, since a
turn costs more than a message."""

_NOTHING: Final = object()
_NOT_HERE: Final = ("MOVED", "CLUSTERDOWN", "TRYAGAIN")
"""What a node says that cannot serve us now: another one may, or the same a little later."""
_MESSAGES: Final = frozenset(kind + b"message" for kind in (NAMED, PATTERN, SHARDED))

Answered = Callable[[Exception | None], None]
"""Called once with what came of a command: None, or what the server said against it."""


class _Command:
    """A command on its way: the kind of its replies, how many are to come, whom to tell."""

    __slots__ = ("answered", "kind", "replies")

    def __init__(self, kind: bytes, replies: int, answered: Answered) -> None:
        self.kind = kind
        self.replies = replies
        self.answered = answered


class PubSubConnection(asyncio.Protocol):
    """One connection of its own, from the sign-in to its end."""

    def __init__(self, deliver: Callable[[Sequence[bytes]], None]) -> None:
        """Make a wire that hands each message to `deliver`, in the words of the server."""
        self.received = 0
        """How many pieces arrived so far: a sign of life."""
        self.lost: Final = asyncio.get_running_loop().create_future()
        """Done when the connection is gone; its result is the exception, or None."""
        self._deliver = deliver
        self._unanswered: deque[_Command] = deque()
        self._unsent = b""
        self._replies = hiredis.Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._connection: AbstractConnection | None = None
        self._slicing = False
        self._closed = asyncio.get_running_loop().create_future()

    def take_over(self, connection: AbstractConnection) -> Self:
        """Read the socket of `connection` from now on, which is signed in and owes no answer."""
        self._connection, self._transport = connection, transport_of(connection)
        self._transport.set_protocol(self)
        return self

    def subscribe(self, kind: Kind, names: Sequence[bytes], answered: Answered) -> None:
        """Subscribe to all of `names` in one step of the server's."""
        word = kind + b"subscribe"
        self._send(word, len(names), answered, word, *names)

    def unsubscribe(self, kind: Kind, name: bytes) -> None:
        """Unsubscribe from `name`, a little later: nobody waits for it."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        word = kind + b"unsubscribe"
        self._unanswered.append(_Command(word, 1, _whatever))
        self._unsent += packed((word, name))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._send(b"pong", 1, _whatever, b"PING")

    async def aclose(self) -> None:
        """Close the socket, at once; return when it is closed. A no-op the second time."""
        connection, self._connection = self._connection, None
        if connection is None or self._transport is None:
            return
        self._transport.abort()
        await connection.disconnect(nowait=True)
        await asyncio.wait([self._closed])

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the server sent; called by the loop."""
        self.received += 1
        self._replies.feed(data)
        self._handle_slice()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the loop."""
        self._end(exc)
        self._closed.set_result(None)

    def _send(self, kind: bytes, replies: int, answered: Answered, *words: bytes) -> None:
        self._unanswered.append(_Command(kind, replies, answered))
        self._unsent += packed(words)
        self._flush()

    def _flush(self) -> None:
        """Write, in one piece, what was said and not yet written."""
        unsent, self._unsent = self._unsent, b""
        if unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(unsent)

    def _handle_slice(self) -> None:
        if self._connection is None:
            return  # closed since this turn was asked for
        try:
            more = self._handle(SLICE)
        except Exception as error:  # noqa: BLE001 - else the loop would log it and go on, deaf
            self._broken(error)
            return
        transport = cast("asyncio.Transport", self._transport)
        if more and not transport.is_closing():
            if not self._slicing:
                self._slicing = True
                transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._handle_slice)
        elif self._slicing:
            self._slicing = False
            transport.resume_reading()

    def _handle(self, limit: int) -> bool:
        """Handle up to `limit` replies; return whether there may be more."""
        gets: Callable[[], Any] = self._replies.gets
        deliver = self._deliver
        for _ in range(limit):
            reply = gets()
            if reply is _NOTHING:
                return False
            if reply.__class__ is list and reply[0] in _MESSAGES:
                deliver(reply)
            else:
                self._answer(reply)
        return True

    def _answer(self, reply: Any) -> None:
        """Take the answer to the oldest command, or a part of it."""
        refusal: Exception | None = reply if isinstance(reply, Exception) else None
        if str(refusal).startswith(_NOT_HERE):
            raise hiredis.ProtocolError(str(refusal))
        # PING is answered by a word alone as long as nothing is subscribed to.
        words: Any = reply
        kind = words[0] if words.__class__ is list else b"pong"
        command = self._unanswered[0] if self._unanswered else None
        if command is None or (kind != command.kind and refusal is None):
            raise hiredis.ProtocolError("an answer to nothing that was asked")
        command.replies -= 1
        if refusal is not None or command.replies == 0:
            self._unanswered.popleft()
            command.answered(refusal)

    def _broken(self, error: Exception) -> None:
        self._end(error)
        cast("asyncio.Transport", self._transport).abort()

    def _end(self, why: Exception | None) -> None:
        """Note why it ends; the first reason is the one."""
        if not self.lost.done():
            self.lost.set_result(why)


async def dial(server: Connection, wire: PubSubConnection) -> PubSubConnection:
    """Connect `wire` to `server`; raise `LayerError`."""
    opened, (pong,) = await server.opened([(b"PING",)])  # loading, or signed out?
    if isinstance(pong, LayerError):
        await opened.aclose()
        raise pong
    return wire.take_over(opened.connection)


def _whatever(_: Exception | None) -> None:
    """Do nothing about an answer."""
