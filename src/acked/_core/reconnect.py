"""How long to go on trying after the connection was lost, and when the next try is due."""

import logging
import random

from acked._machines.backoff import Backoff
from acked.abc import Clock
from acked.errors import ConnectionLost

__all__ = ("ReconnectBudget",)

logger = logging.getLogger("acked.subscription")


class ReconnectBudget:
    """Waits between tries by `backoff`, for `timeout` seconds in all; None is for ever."""

    def __init__(self, backoff: Backoff, timeout: float | None, clock: Clock) -> None:
        self._backoff = backoff
        self._timeout = timeout
        self._clock = clock
        self._lost_since: float | None = None
        self._tries = 0

    def reset(self) -> None:
        """Note that the broker answered: the next loss begins anew."""
        if self._lost_since is not None:
            logger.warning("receiving again after %d tries", self._tries)
            self._lost_since, self._tries = None, 0

    async def wait(self, lost: ConnectionLost) -> None:
        """Wait before the next try; raise `lost` when the time is over."""
        now = self._clock.time()
        if self._lost_since is None:
            logger.warning("connection lost, trying again: %s", lost)
            self._lost_since = now
        if self._timeout is not None and now - self._lost_since >= self._timeout:
            raise lost
        self._tries += 1
        delay = self._backoff.delay(self._tries, random.random())  # noqa: S311 - no secret
        await self._clock.sleep_until(now + delay)
