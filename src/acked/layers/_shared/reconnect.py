"""The waits between tries to connect again, of layers that do so behind a subscription."""

import asyncio
import random
from typing import Final

from acked._machines.backoff import Backoff

__all__ = ("RECONNECT", "pause_before")

RECONNECT: Final = Backoff(initial=0.05, factor=2.0, maximum=5.0, spread=0.5)
"""Doubling, up to a half at random taken off, so that many clients do not come back in step."""


async def pause_before(attempt: int) -> None:
    """Wait before the try to connect number `attempt`, from 1."""
    await asyncio.sleep(RECONNECT.delay(attempt, random.random()))  # noqa: S311 - no secret
