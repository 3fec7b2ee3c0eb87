"""When the next try to connect is due, and for how long a server may refuse us."""

import asyncio
import logging
import random
from typing import Final

from acked.errors import ConnectionLost, LayerError

__all__ = ("RefusalBudget", "pause")

logger: Final = logging.getLogger("acked.layers.redis_pubsub")

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
"""Seconds between tries to connect: doubling from the first, up to a half at random taken off."""

REFUSED_FOR: Final = 10.0
"""Seconds within which a refusal that may pass has to."""


class RefusalBudget:
    """How long a server may refuse us: passwords and rights are changed, one after the other."""

    def __init__(self) -> None:
        self._since: float | None = None

    def note(self, error: LayerError | None) -> None:
        """Note a try to connect; raise `error` if it does not pass, or has not for too long."""
        if error is None or isinstance(error, ConnectionLost):
            self._since = None
            return
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
            if error.may_pass:
                logger.warning("refused for now, trying again for %g s: %s", REFUSED_FOR, error)
        if not error.may_pass or now - self._since > REFUSED_FOR:
            raise error


def pause(failures: int) -> float:
    """Return the seconds to wait after so many tries."""
    longest = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - many clients shall not come in step
