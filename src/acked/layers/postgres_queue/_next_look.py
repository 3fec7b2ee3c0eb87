"""When a consumer looks for messages again: it asks the server no more than there is to learn."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from acked.layers.postgres_queue._patrol import Patrol
from acked.layers.postgres_queue._wakeups import Wakeups

__all__ = ("NextLook", "Outlook")

POLL_UNTOLD: Final = 0.2
"""Seconds between two looks of a consumer that waits while no notifications arrive."""

GUARDED: Final = 60.0
"""Seconds between two looks of one that is told of news, and that the patrol looks for."""

AGAIN: Final = 0.005
"""Seconds after which a claim in order goes on that parked all it may, or met who settles."""

SOON: Final = 0.001
"""The least of seconds until what is due."""


class Outlook(NamedTuple):
    """What a look that had room left says of what is to come."""

    known: int
    """How many of the groups there are still."""
    due: float | None
    """In how many seconds something may be free that nobody tells of; None if there is nothing."""
    has_free: bool
    """Whether something is already: of what was too much for the look, or somebody has locked."""


class NextLook:
    """The next look of one consumer: at once, as soon as it is told of something, or by time.

    A look that had room left has seen all there was. To look again before there can be something
    new would be to ask in vain, once for every batch that is not full.
    """

    def __init__(
        self, wakeups: Wakeups, patrol: Patrol, topics: Sequence[str], *, in_key_order: bool
    ) -> None:
        self._wakeups = wakeups
        self._patrol = patrol
        self._in_key_order = in_key_order
        self._news = wakeups.news(topics)
        self._news.set()
        self._alarm: asyncio.TimerHandle | None = None

    async def due(self) -> None:
        """Wait for the moment of the next look."""
        await self._news.wait()

    def begin(self) -> None:
        """Note that one looks now: what is told of from here on may not be in it."""
        self._disarm()
        self._news.clear()

    def at_once(self) -> None:
        """Let the next look be at once."""
        self._news.set()

    def after(self, outlook: Outlook | None, *, found: bool) -> None:
        """Let it be when there can be something, as `outlook` says where there was room left."""
        pause = 0.0 if outlook is None else self._pause(outlook, found=found)
        if pause:
            self._alarm = asyncio.get_running_loop().call_later(pause, self._news.set)
        else:
            self._news.set()

    def guard(self, grps: Collection[int]) -> None:
        """Let it be at once when the patrol sees something of `grps`, too."""
        self._patrol.guard(self._news.set, grps)

    async def end(self) -> None:
        """Be told of nothing more."""
        self._disarm()
        self._wakeups.forget(self._news)
        await self._patrol.leave(self._news.set)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _pause(self, outlook: Outlook, *, found: bool) -> float:
        """Return for how many seconds nothing can be free that nobody tells of."""
        is_live = self._wakeups.is_live
        if found and (outlook.has_free or not is_live):
            return 0.0
        if outlook.has_free and self._in_key_order:
            return AGAIN
        most = max(GUARDED, self._patrol.every) if is_live else min(self._patrol.every, POLL_UNTOLD)
        return most if outlook.due is None else max(SOON, min(outlook.due, most))
