"""Of those in one process who wait with nothing to do, one looks at the file for all.

So what a hundred idle consumers cost is what one does: a look reads a number from shared memory,
but in a thread. Whoever had news a short while ago still looks by himself, more often: he must
learn of the next ones soon.
"""

import anyio

from acked.layers.sqlite_queue._file import Version

__all__ = ("LONGEST_POLL", "Watch")

LONGEST_POLL: float = 0.25
"""How long a consumer that has had no news for a while may take to learn of some, in seconds."""


class Watch:
    """Who looks, and who relies on that; used within one event loop."""

    def __init__(self) -> None:
        self._keeper: object = None
        self._relying: dict[object, anyio.Event] = {}
        self._told: Version | None = None
        self._told_at = 0.0

    def is_kept_by(self, waiter: object, seen: Version, news: anyio.Event) -> bool:
        """Say whether `waiter` has to look; else `news` is set when the file has another version.

        Race: another version than was told of last may have come since `waiter` has `seen` its own.
        """
        if self._keeper is None:
            self._keeper = waiter
        if self._keeper is waiter or seen != self._told:
            return True
        self._relying[waiter] = news
        return False

    def saw(self, waiter: object, version: Version) -> None:
        """Tell those who rely on `waiter`, if they do, that the file has this version now.

        Not more often than they would look themselves: it changes with everything that is done.
        """
        now = anyio.current_time()
        if waiter is self._keeper and version != self._told and now >= self._told_at + LONGEST_POLL:
            self._told, self._told_at = version, now
            for news in self._relying.values():
                news.set()
            self._relying.clear()

    def leave(self, waiter: object) -> None:
        """Note that `waiter` waits no more; one of those who relied on it looks from now on."""
        self._relying.pop(waiter, None)
        if waiter is self._keeper:
            self._keeper = next(iter(self._relying), None)
            if self._keeper is not None:
                self._relying.pop(self._keeper).set()
