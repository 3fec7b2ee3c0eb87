"""How much to fetch ahead of the reader: what it will handle in a moment, and no more.

Rules:

1. What lies in one consumer's buffer is no use to another. So the buffer holds what the reader
   takes in `AHEAD` seconds, at the pace it had since the fetch before.
2. It begins with nothing ahead and at most doubles from one fetch to the next; a pace that falls
   is followed at once. The engine's `in_flight` stays the upper bound.
3. With nothing ahead one message is fetched at a time, and only when the reader waits for it: who
   needs longer than `AHEAD` for each loses nothing that could be measured.
4. Where the reader had no time to take anything between two fetches, there is nothing to learn.
"""

from typing import Final

__all__ = ("AHEAD", "WindowSize")

AHEAD: Final = 0.1
"""Seconds of the reader's work that may wait for it unseen."""


class WindowSize:
    """How many messages may wait in the buffer; times in seconds."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most
        self._taken = 0
        self._since: float | None = None

    def fetched(self, taken: int, now: float) -> None:
        """Note that a fetch ended, when the reader had taken `taken` messages since it began."""
        if self._since is None:
            self._since = now
            return
        count, elapsed = taken - self._taken, max(now - self._since, 1e-6)
        if count or elapsed >= AHEAD:
            pace = int(count * AHEAD / elapsed + 0.01)  # 4.999 are 5
            self.size = min(pace, max(1, 2 * self.size), self._most)
            self._taken, self._since = taken, now

    def reset(self) -> None:
        """Note that something waited for too long: nothing is fetched ahead any more."""
        self.size = 0
