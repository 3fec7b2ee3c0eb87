"""Contexts that one task enters and another one leaves."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio

__all__ = ("Held",)

logger = logging.getLogger("acked.compat")

LEAVING: Final = 5.0
"""Seconds that leaving a context may take before it is cancelled."""


class Held:
    """A context manager in the keeping of a task of its own, so that any task may leave it.

    Applications subscribe in async generators (server-sent events, GraphQL), which are entered by
    one task and often closed by another; a subscription of `acked` is for one task.
    """

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self._context = context
        self._scope = anyio.CancelScope()
        self._entered, self._leaving, self._left = (anyio.Event() for _ in range(3))
        self._failure: Exception | None = None

    async def enter(self) -> None:
        """Enter the context; raise what entering raises. Cancelled, it is not entered."""
        self._task = _spawn(self._hold)
        try:
            await self._entered.wait()
        except BaseException:
            self._scope.cancel()
            await self.leave()
            raise
        if self._failure is not None:
            raise self._failure

    async def leave(self) -> None:
        """Leave the context, also while being cancelled; what goes wrong then is logged."""
        self._leaving.set()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(LEAVING):
                await self._left.wait()
            self._scope.cancel()
            await self._left.wait()

    async def _hold(self) -> None:
        try:
            with self._scope:
                async with self._context:
                    self._entered.set()
                    await self._leaving.wait()
        except Exception as error:  # noqa: BLE001 - raised by enter(), or logged
            if self._entered.is_set():
                logger.warning("leaving a subscription: %s: %s", type(error).__name__, error)
            self._failure = error
        finally:
            self._entered.set()
            self._left.set()


def _spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """Let `work` run in a task that is in nobody's group; return what keeps it alive."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - only here for who runs on it

        return trio.lowlevel.spawn_system_task(work)
    return loop.create_task(work())
