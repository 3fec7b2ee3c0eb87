"""The waits between tries to connect again, of layers that do so behind a subscription."""

import asyncio
import random
from typing import Final, Literal, TypeAlias

import anyio

from acked._machines.backoff import Backoff
from acked.errors import ConfigurationError

__all__ = ("NextTry", "OnLoss", "pause", "pause_before", "reconnects")

OnLoss: TypeAlias = Literal["reconnect", "raise"]

RECONNECT: Final = Backoff(initial=0.05, factor=2.0, maximum=5.0, spread=0.5)
"""Doubling, up to a half at random taken off, so that many clients do not come back in step."""


def reconnects(on_loss: OnLoss) -> bool:
    """Say whether a lost connection is made again; raise `ConfigurationError` for other words."""
    if on_loss not in {"reconnect", "raise"}:
        raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect' or 'raise'")
    return on_loss == "reconnect"


def pause(attempt: int) -> float:
    """Return the seconds to wait before the try to connect number `attempt`, from 1."""
    return RECONNECT.delay(attempt, random.random())  # noqa: S311 - no secret


async def pause_before(attempt: int) -> None:
    """Wait before the try to connect number `attempt`, from 1."""
    await asyncio.sleep(pause(attempt))


class NextTry:
    """The next try to connect: who cannot wait until it is due may have it at once."""

    def __init__(self) -> None:
        self._pause = anyio.CancelScope()
        self._done = asyncio.Event()

    async def pause(self, attempt: int) -> None:
        """Wait before the try number `attempt`, from 1, or until somebody is in a hurry."""
        self._done.clear()
        with anyio.CancelScope() as self._pause:
            await pause_before(attempt)

    def done(self) -> None:
        """Note that it has failed, or that all is as before."""
        self._done.set()

    async def hurry(self, timeout: float) -> None:
        """Let it be made now; return when it is done, or after `timeout` seconds."""
        self._pause.cancel()
        with anyio.move_on_after(timeout):
            await self._done.wait()
