"""Settlements in any order, turned into the one position up to which everything is settled.

Where a broker remembers a single position for a group (a Kafka partition), or wants answers in
the order of arrival (MQTT), a settlement out of order has to wait for those before it.

Rules:

1. Positions are delivered in rising order; they need not be consecutive. Transaction markers and
   compaction leave gaps, so the frontier runs over *delivered* positions and never over
   `position + 1`.
2. The frontier is the last position of the longest prefix of deliveries that are all settled.
   It never goes back.
3. Settling what was not delivered, or twice, raises `ValueError` and changes nothing.
"""

from collections import deque

__all__ = ("Window",)


class Window:
    """The delivered positions of one ordered source that are not yet behind the frontier."""

    def __init__(self) -> None:
        self.frontier: int | None = None
        """Everything delivered up to here is settled; None before anything was."""
        self._open: deque[int] = deque()
        self._unsettled: set[int] = set()
        self._last: int | None = None

    def __len__(self) -> int:
        """Return how many delivered positions lie beyond the frontier."""
        return len(self._open)

    @property
    def unsettled(self) -> frozenset[int]:
        """Delivered and not settled."""
        return frozenset(self._unsettled)

    def deliver(self, position: int) -> None:
        """Note that `position` was delivered; it must be above all delivered before."""
        if self._last is not None and position <= self._last:
            raise ValueError(f"position {position} was delivered after {self._last}")
        self._last = position
        self._open.append(position)
        self._unsettled.add(position)

    def settle(self, position: int) -> bool:
        """Note that `position` is settled; True if the frontier moved."""
        if position not in self._unsettled:
            raise ValueError(f"position {position} is not delivered and unsettled")
        self._unsettled.remove(position)
        before = self.frontier
        while self._open and self._open[0] not in self._unsettled:
            self.frontier = self._open.popleft()
        return self.frontier != before

    def settled_beyond(self) -> tuple[int, ...]:
        """Return the settled positions that wait for one before them, in rising order."""
        return tuple(position for position in self._open if position not in self._unsettled)
