"""Events on their way from where they arrive to `next_published`, and for whom they are."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.exceptions import ListenerClosed

__all__ = ("Inbox", "owner", "owning")

CAPACITY: Final = 65_536
"""Events that wait to be handed out to the subscribers.

They are handed out one in a turn of the loop, so that a fast reader needs no large buffer, and may
arrive by hundreds in one.
"""

_owner: Final[ContextVar[str | None]] = ContextVar("owner", default=None)


@contextmanager
def owning(group: str) -> Generator[None]:
    """Let whatever a layer registers within belong to the subscription to `group`.

    So a layer may register any names for `group` (`"a;b"`: `a` and `b`), and events of these find
    the subscriber.
    """
    token = _owner.set(group)
    try:
        yield
    finally:
        _owner.reset(token)


def owner() -> str | None:
    """Return the group whose subscription is being made or undone; None outside of a channel."""
    return _owner.get()


class Inbox:
    """A bounded stream of events, from opening to closing; on any event loop, one at a time."""

    def __init__(self) -> None:
        self._send: MemoryObjectSendStream[Event] | None = None
        self._receive: MemoryObjectReceiveStream[Event] | None = None
        self._failure: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since."""
        return self._send is not None

    def open(self) -> None:
        """Begin, with nothing in it."""
        self._failure = None
        self._send, self._receive = anyio.create_memory_object_stream[Event](CAPACITY)

    def close(self) -> None:
        """End; who waits for an event gets `ListenerClosed`."""
        if self._send is not None and self._receive is not None:
            self._send.close()
            self._receive.close()
        self._send = self._receive = None

    def fail(self, error: Exception) -> None:
        """Let `next` raise `error` after what is there."""
        self._failure = error
        if self._send is not None:
            self._send.close()

    def offer(self, event: Event) -> bool:
        """Take `event` without waiting; False if there is no room. After the end it is dropped."""
        if self._send is None:
            return True
        try:
            self._send.send_nowait(event)
        except anyio.WouldBlock:
            return False
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass
        return True

    async def send(self, event: Event) -> None:
        """Take `event`, waiting for room."""
        if self._send is not None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await self._send.send(event)

    async def next(self) -> Event:
        """Return the next event; raise what it failed by, or `ListenerClosed` after the end."""
        if self._receive is None:
            raise RuntimeError("this layer is not connected; enter its Channel first")
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            if self._failure is not None:
                raise self._failure from None
            raise ListenerClosed from None
