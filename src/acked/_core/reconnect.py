"""How long to go on trying after the connection was lost, and when the next try is due."""

import logging
import random

from acked._core.observer import Observer
from acked._machines.backoff import Backoff
from acked.abc import Clock
from acked.errors import ConnectionLost, LayerError, without_frames

__all__ = ("ReconnectBudget",)

logger = logging.getLogger("acked.subscription")


class ReconnectBudget:
    """Waits by `backoff` before what may pass is tried again, for `timeout` seconds in all."""

    def __init__(
        self,
        backoff: Backoff,
        timeout: float | None,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        self._backoff = backoff
        self._timeout = timeout
        self._clock = clock
        self._observer = observer
        self._lost_since: float | None = None
        self._told: type[LayerError] | None = None
        self._tries = 0

    @property
    def is_lost(self) -> bool:
        """Whether the broker did not answer when last asked."""
        return self._lost_since is not None

    def reset(self) -> None:
        """Note that the broker answered: the next loss begins anew."""
        if self._lost_since is not None:
            logger.warning("receiving again after %d tries", self._tries)
            if self._observer is not None:
                self._observer.connection_restored(self._tries)
            self._lost_since, self._told, self._tries = None, None, 0

    async def wait(self, error: LayerError) -> None:
        """Wait before the next try; raise `error` if it does not pass, or the time is over."""
        now = self.spend(error)
        self._tries += 1
        delay = self._backoff.delay(self._tries, random.random())  # noqa: S311 - no secret
        await self._clock.sleep_until(now + delay)

    def spend(self, error: LayerError) -> float:
        """Note that it has not passed, and return the time; raise `error` when that is over.

        Also where only a part fails and the others go on, so that nobody waits.
        """
        without_frames(error)
        if not error.may_pass:
            raise error
        now = self._clock.time()
        if type(error) is not self._told:
            self._told = type(error)
            what = "connection lost" if isinstance(error, ConnectionLost) else "refused for now"
            logger.warning("%s, trying again: %s", what, error)
        if self._lost_since is None:
            self._lost_since = now
            if self._observer is not None:
                self._observer.connection_lost(error)
        if self._timeout is not None and now - self._lost_since >= self._timeout:
            raise error
        return now
