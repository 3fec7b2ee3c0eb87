"""What every subscription has: a life, iteration, batches. The two kinds are beside this file."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import anyio.lowlevel

from acked._core.options import checked_count, checked_seconds
from acked.errors import AckedError, ChannelClosed

__all__ = ("Batches", "Subscription")

M_co = TypeVar("M_co", covariant=True)
B = TypeVar("B")


READS_BETWEEN_LOOKS: Final = 25
TURN: Final = 0.001
"""A full buffer is read without suspending, for so many seconds: then the other tasks have their
turn. The clock is looked at after so many reads, so a slow handler gives it up sooner."""


class Subscription(ABC, Generic[M_co]):
    """An asynchronous iterator over what arrives, open between entering and leaving.

    Enter and leave it in one task; read it from any number of tasks: each item goes to one of
    them. It never ends by itself: when it cannot go on it raises.
    """

    __slots__ = (
        "__weakref__",
        "_close_timeout",
        "_entered",
        "_inside",
        "_on_closed",
        "_on_opened",
        "_opened",
        "_reads",
        "_scope",
        "_turn_began",
    )

    def __init__(
        self,
        close_timeout: float,
        on_opened: Callable[["Subscription[Any]"], None],
        on_closed: Callable[["Subscription[Any]"], None],
    ) -> None:
        self._close_timeout = close_timeout
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._entered = False
        self._opened = False
        self._inside: AbstractAsyncContextManager[None]
        self._scope: anyio.CancelScope
        self._reads = 0
        self._turn_began = 0.0

    async def __aenter__(self) -> Self:
        """Join: when entered, whatever is published afterwards arrives."""
        if self._entered:
            raise ChannelClosed("a subscription is entered once; call subscribe() again")
        self._entered = True
        with ExitStack() as undo:
            self._on_opened(self)
            undo.callback(self._on_closed, self)
            # One scope around everything: leaving turns it into a shield with a deadline.
            self._scope = undo.enter_context(anyio.CancelScope())
            self._inside = self._open()
            await self._inside.__aenter__()
            undo.pop_all()
            self._opened = True
        if self._opened and self._scope.cancel_called:  # where nothing waited since it was shut
            self._opened = False
            await self.__aexit__(None, None, None)
        if not self._opened:  # shut while it was being opened, and cancelled by that
            raise ChannelClosed("the channel was closed while this subscription was being entered")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave: settlements are flushed, what is unsettled is given back, within `close_timeout`.

        Raises what a pipelined settlement met, unless an exception is on its way already.
        """
        self._scope.shield = True
        self._scope.deadline = anyio.current_time() + self._close_timeout
        interrupted = exc is not None and not isinstance(exc, Exception)
        # Not told of the exception: a task group would wrap it in an ExceptionGroup.
        try:
            async with AsyncExitStack() as stack:
                stack.push(self._scope)
                stack.push_async_exit(self._inside)
                await self._leave(interrupted=interrupted)
        finally:
            self._closed()
            self._on_closed(self)
        error = self._error()
        if error is not None and exc is None:
            raise error

    def __aiter__(self) -> Self:
        return self

    async def _take_turns(self) -> None:
        """Let the other tasks run, if a full buffer was read for long enough since they did."""
        if self._reads < 0:
            self._reads = READS_BETWEEN_LOOKS
            if monotonic() - self._turn_began >= TURN:
                await anyio.lowlevel.checkpoint()
                self._turn_began = monotonic()

    @abstractmethod
    async def __anext__(self) -> M_co:
        """Return the next item, waiting for it; raise when the subscription cannot go on."""

    def shut(self, error: AckedError) -> None:
        """Let the readers raise `error`, at once where what is buffered can be given back."""
        if self._opened:
            self.fail(error)
        else:
            self._scope.cancel()

    async def stop_receiving(self) -> None:
        """Give back what was fetched and nobody has seen."""

    async def abandon(self) -> None:
        """Give back what is held: it cannot be settled any more."""

    @abstractmethod
    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""

    @abstractmethod
    def _open(self) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    async def _leave(self, *, interrupted: bool) -> None: ...

    @abstractmethod
    def _closed(self) -> None: ...

    @abstractmethod
    def _error(self) -> AckedError | None: ...


class Batches(AsyncIterator[B], Generic[B]):
    """Items gathered: up to `size` of them, or `most`, waiting `wait` seconds after the first.

    Nothing is taken before the wait is over, so cancelling it loses nothing.
    """

    def __init__(
        self,
        ready: Callable[[int, int], Awaitable[None]],
        take: Callable[[int], B | None],
        *,
        size: int,
        most: int,
        wait: float,
    ) -> None:
        self._ready = ready
        self._take = take
        self._size = min(checked_count("size", size), most)
        self._wait = checked_seconds("wait", wait, least=0.0)

    async def __anext__(self) -> B:
        """Return the next batch; it has at least one item."""
        while True:
            await self._ready(1, self._size)
            if self._wait > 0:
                with anyio.move_on_after(self._wait):
                    await self._ready(self._size, self._size)
            taken = self._take(self._size)
            if taken is not None:  # else another reader was faster
                return taken
