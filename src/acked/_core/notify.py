"""A wake-up that costs nothing while nobody waits, and little while somebody does."""

import asyncio
from collections.abc import Awaitable
from typing import TypeAlias

import anyio

__all__ = ("Notify",)


class Notify:
    """Wake whoever waits at this moment; nobody waiting, nothing happens.

    Use it like a condition variable: `while not ready: await signal.wait()`. No wake-up is lost,
    because nothing can happen between the look and the wait: there is no await between them.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: anyio.Event | _Futures | None = None

    def set(self) -> None:
        """Wake all that wait now."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            waiting.set()

    def wait(self) -> Awaitable[None]:
        """Return what to await, at once, for the next `set()`: no coroutine of its own."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = _Futures() if _on_asyncio() else anyio.Event()
        return waiting.wait()


_Future: TypeAlias = asyncio.Future[None]


class _Futures(list[_Future]):
    """What `anyio.Event` is on asyncio, without its two coroutines and 900 bytes of deque."""

    __slots__ = ()

    def set(self) -> None:
        for future in self:
            if not future.done():  # cancelled with the task that waited
                future.set_result(None)

    def wait(self) -> _Future:
        future: _Future = asyncio.get_running_loop().create_future()
        self[:] = [one for one in self if not one.done()]
        self.append(future)
        return future


def _on_asyncio() -> bool:
    """Say whether a task of asyncio runs; trio's do not, also where trio is asyncio's guest."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop of asyncio runs
        return False
