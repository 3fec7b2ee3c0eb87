"""For how long a server may refuse us where we connect again behind a subscription."""

import asyncio
import logging
from typing import Final

from acked.errors import ConnectionLost, LayerError

__all__ = ("RefusalBudget",)

REFUSED_FOR: Final = 10.0
"""Seconds within which a refusal that may pass has to."""


class RefusalBudget:
    """How long a server may refuse us: passwords and rights are changed, one after the other."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
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
                self._logger.warning(
                    "refused for now, trying again for %g s: %s", REFUSED_FOR, error
                )
        if not error.may_pass or now - self._since > REFUSED_FOR:
            raise error
