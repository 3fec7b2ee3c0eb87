"""A wake-up that costs nothing while nobody waits, and little while many do."""

import asyncio
from collections.abc import Awaitable
from itertools import islice
from typing import Final, Protocol, TypeAlias

import anyio

__all__ = ("Notify", "on_asyncio")

FEW: Final = 64
"""So many that wait are never looked through for those that were cancelled."""


class Notify:
    """Wake whoever waits at this moment; nobody waiting, nothing happens.

    Use it like a condition variable: `while not ready: await notify.wait()`. No wake-up is lost,
    because nothing can happen between the look and the wait: there is no await between them. Who
    was woken by `wake` and cannot use it, because it is cancelled, must wake the next. For one
    event loop.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: _Waiting | None = None
        """Who waits; false while nobody does: looked at where a call for nothing is too much."""

    def set(self) -> None:
        """Wake all that wait now."""
        waiting = self.waiting
        if waiting:
            waiting.wake_all()

    def wake(self, count: int) -> None:
        """Wake the `count` that wait for the longest."""
        waiting = self.waiting
        if waiting:
            waiting.wake(count)

    def wait(self) -> Awaitable[object]:
        """Return what to await, at once, for the next `set()`: no coroutine of its own."""
        waiting = self.waiting
        if waiting is None:
            waiting = self.waiting = _Futures() if on_asyncio() else _Events()
        return waiting.wait()


class _Waiting(Protocol):
    def __len__(self) -> int: ...

    def wake(self, count: int) -> None: ...

    def wake_all(self) -> None: ...

    def wait(self) -> Awaitable[object]: ...


_Future: TypeAlias = asyncio.Future[None]


class _Futures(list[_Future]):
    """One future for each that waits, oldest first. No deque: most have one, or none."""

    __slots__ = ("_first", "_loop", "_most")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()  # looked up once: that asks for the process's id
        self._first = 0
        """How many were woken and are still in the list: they go when they are half of it."""
        self._most = FEW

    def wake(self, count: int) -> None:
        if count and len(self) == 1:  # mostly; it was not woken, else it were gone
            future = self.pop()
            if not future.done():
                future.set_result(None)
            return
        first = self._first
        while count and first < len(self):
            future = self[first]
            first += 1
            if not future.done():  # cancelled with the task that waited
                future.set_result(None)
                count -= 1
        if 2 * first >= len(self):
            del self[:first]
            first = 0
        self._first = first

    def wake_all(self) -> None:
        for future in self:
            if not future.done():
                future.set_result(None)
        self.clear()
        self._first = 0

    def wait(self) -> _Future:
        if len(self) >= self._most:  # each time twice as many: those cancelled are looked for
            self[:] = [future for future in self if not future.done()]
            self._first = 0
            self._most = max(FEW, 2 * len(self))
        future: _Future = self._loop.create_future()
        self.append(future)
        return future


class _Events(dict[anyio.Event, None]):
    """The same where asyncio's futures cannot be awaited: an event for each that waits."""

    def wake(self, count: int) -> None:
        for event in tuple(islice(self, count)):
            del self[event]
            event.set()

    def wake_all(self) -> None:
        self.wake(len(self))

    async def wait(self) -> None:
        event = anyio.Event()
        self[event] = None
        try:
            await event.wait()
        finally:
            self.pop(event, None)


def on_asyncio() -> bool:
    """Say whether a task of asyncio runs; trio's do not, also where trio is asyncio's guest."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop of asyncio runs
        return False
