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
from itertools import islice, pairwise, takewhile
from operator import lt

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
    def oldest(self) -> int | None:
        """The first that was delivered and is not settled."""
        return self._open[0] if self._open else None

    @property
    def unsettled_count(self) -> int:
        """How many were delivered and are not settled."""
        return len(self._unsettled)

    def is_unsettled(self, position: int) -> bool:
        """Return whether `position` was delivered and is not settled."""
        return position in self._unsettled

    def unsettled_to(self, position: int) -> list[int]:
        """Return what is unsettled up to `position`, in rising order; it costs nothing beyond."""
        unsettled = self._unsettled
        return [one for one in takewhile(position.__ge__, self._open) if one in unsettled]

    def deliver(self, *positions: int) -> None:
        """Note that `positions` were delivered, each above all delivered before it."""
        run = positions if self._last is None else (self._last, *positions)
        if not all(map(lt, run, islice(run, 1, None))):
            last, position = next(pair for pair in pairwise(run) if not lt(*pair))
            raise ValueError(f"position {position} was delivered after {last}")
        if run:
            self._last = run[-1]
        self._open.extend(positions)
        self._unsettled.update(positions)

    def settle(self, *positions: int) -> bool:
        """Note that `positions` are settled; True if the frontier moved."""
        settled, unsettled, undecided = set(positions), self._unsettled, self._open
        if len(settled) != len(positions) or not settled <= unsettled:
            wrong = next((one for one in positions if one not in unsettled), positions[0])
            raise ValueError(f"position {wrong} is not delivered and unsettled")
        unsettled -= settled
        before = frontier = self.frontier
        while undecided and undecided[0] not in unsettled:
            frontier = undecided.popleft()
        self.frontier = frontier
        return frontier != before
