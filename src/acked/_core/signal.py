"""A wake-up that costs nothing while nobody waits."""

from collections.abc import Awaitable

import anyio

__all__ = ("Signal",)


class Signal:
    """Wake whoever waits at this moment; nobody waiting, nothing happens.

    Use it like a condition variable: `while not ready: await signal.wait()`. No wake-up is lost,
    because nothing can happen between the look and the wait: there is no await between them.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Wake all that wait now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    def wait(self) -> Awaitable[None]:
        """Return what to await, at once, for the next `set()`: no coroutine of its own."""
        if self._event is None:
            self._event = anyio.Event()
        return self._event.wait()
