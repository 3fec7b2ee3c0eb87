"""Contexts that one task enters and another one leaves."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

__all__ = ("Held",)

logger = logging.getLogger("acked.compat")


class Held:
    """A context manager in the keeping of a task of its own, so that any task may leave it.

    A subscription of `acked` is left by the task that entered it. Applications of broadcaster
    subscribe in async generators (server-sent events, GraphQL), which are entered by one task and
    often closed by another.
    """

    __slots__ = ("_context", "_leaving", "_task")

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self._context = context
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Enter the context; raise what entering raises. Cancelled, it is not entered."""
        loop = asyncio.get_running_loop()
        entered: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._hold(entered))
        try:
            await asyncio.wait([entered])
        except BaseException:
            self._task.cancel()
            await self._ended(self._task)
            raise
        if entered.exception() is not None:
            await self._ended(self._task)
        entered.result()

    async def leave(self) -> None:
        """Leave the context, also while being cancelled; what goes wrong then is logged."""
        if not self._leaving.done():
            self._leaving.set_result(None)
        if self._task is not None:
            await self._ended(self._task)

    async def _ended(self, task: asyncio.Task[None]) -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])

    async def _hold(self, entered: "asyncio.Future[None]") -> None:
        try:
            async with self._context:
                entered.set_result(None)
                await self._leaving
        except Exception as error:  # noqa: BLE001 - raised by enter(), or logged
            if entered.done():
                logger.warning("leaving a subscription: %s", error)
            else:
                entered.set_exception(error)
        finally:
            if not entered.done():
                entered.cancel()
