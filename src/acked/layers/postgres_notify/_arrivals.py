"""What arrives, passed on a few at a time, so that those who read have their turn between."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from acked.types import Record

__all__ = ("Arrivals",)

ARRIVALS_AT_ONCE: Final = 32
"""How many messages are passed on before the readers run; small subscriptions need not drop."""

MOST_ARRIVALS: Final = 16384
"""How many messages wait to be passed on; with more, all of them are, and full sinks drop."""


class Arrivals:
    """Records on their way to `pass_on`, in order: at once, or after turns of the loop."""

    def __init__(self, pass_on: Callable[[Record], None]) -> None:
        self._pass_on = pass_on
        self._waiting: deque[Record] = deque()
        self._at_once = 0
        """How many did not wait, since a turn of the loop was asked for."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: Record) -> None:
        """Pass `record` on, now or when its turn comes; never waits."""
        if self._at_once < ARRIVALS_AT_ONCE and not self._waiting:
            self._at_once += 1
            # Not with the first: what comes one by one shall cost no turn.
            if self._at_once == ARRIVALS_AT_ONCE // 2:
                asyncio.get_running_loop().call_soon(self._begin_turn)
            self._pass_on(record)
            return
        self._waiting.append(record)
        if len(self._waiting) > MOST_ARRIVALS:
            self.pass_all()

    def pass_all(self) -> None:
        """Let nothing wait any more."""
        self._pass(len(self._waiting))

    def _begin_turn(self) -> None:
        self._at_once = 0
        if self._waiting:
            # Behind the readers that were woken in the turn before: else of what one read brought
            # they might miss something.
            asyncio.get_running_loop().call_soon(self._pass_some)

    def _pass_some(self) -> None:
        self._pass(ARRIVALS_AT_ONCE)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._pass_some)

    def _pass(self, limit: int) -> None:
        for _ in range(min(limit, len(self._waiting))):
            self._pass_on(self._waiting.popleft())
