"""Where a channel was opened: in which event loop, thread and process it may be used."""

import asyncio
import os
import threading

from acked.errors import ConfigurationError

__all__ = ("EnteringTask", "Home")

_forks = 0


def _forked() -> None:
    global _forks  # noqa: PLW0603 - a fact about the process
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Home:
    """The place where something was opened, and the error for its use elsewhere."""

    __slots__ = ("_forks", "_loop", "_thread")

    def __init__(self) -> None:
        self._forks = _forks
        self._thread = threading.get_ident()
        self._loop = _running_loop()

    def check(self) -> None:
        """Raise `ConfigurationError` outside of the loop, thread and process of the opening."""
        loop = self._loop
        if (
            self._forks == _forks
            and self._thread == threading.get_ident()
            # What runs in this thread is then ours: up to 3.11 to ask which it is asks the kernel.
            and (loop.is_running() if loop is not None else _running_loop() is None)
        ):
            return
        if self._forks != _forks:
            where = "in another process: open a channel of its own after the fork"
        elif self._thread != threading.get_ident():
            where = "in another thread: use anyio.from_thread.run, or open a channel there"
        else:
            where = "in another event loop: open a channel in each"
        raise ConfigurationError(f"this channel was opened {where}")


class EnteringTask:
    """The task that entered something, and whether it has ended without leaving it.

    On asyncio; trio's tasks cannot end while what they entered is open.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task = asyncio.current_task() if _running_loop() is not None else None

    def has_ended(self) -> bool:
        """Say whether the task has ended."""
        return self._task is not None and self._task.done()

    def has_left_open(self, what: str) -> str:
        """Return what to say of `what`, which the task has not left."""
        return (
            f"{what} was left open by a task that has ended; its messages are given back: enter it "
            "by `async with`, and close an async generator around it by contextlib.aclosing"
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # trio's
        return None
