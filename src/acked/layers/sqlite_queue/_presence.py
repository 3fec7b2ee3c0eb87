"""A consumer in the groups of its topics: it joins them, says that it lives, and how far they are.

Within a transaction that is passed in, and by one thread at a time.
"""

import secrets
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final

from acked.errors import LayerError
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._access import Access
from acked.layers.sqlite_queue._key_order import keep_keys
from acked.layers.sqlite_queue._removal import ALIVE_FOR, LISTENERS
from acked.layers.sqlite_queue._turns import Turns
from acked.types import Start

__all__ = ("Presence",)

COUNT_EACH: Final = 1.0
"""Seconds between two counts of what many topics are behind; few are counted at each look."""


class Presence:
    """One consumer of a group of some topics, as the file knows it.

    A group is not removed while one of its consumers lives. So they need not be looked for at each
    look: only as often as each says that it lives, and in a file that we have not seen before.
    """

    def __init__(
        self, access: Access, topics: Sequence[str], group: str, *, in_key_order: bool
    ) -> None:
        self.lag = 0
        """What was published and not given to the group, as of the last count."""
        self._access = access
        self._topics = topics
        self._group = group
        self._in_key_order = in_key_order
        self._feed = secrets.randbits(62)
        self._turns = Turns(group, ())
        self._generation = -1
        self._looked_for_until = 0.0
        self._count_due = 0.0

    def __repr__(self) -> str:
        return f"<presence in {len(self._topics)} topics>"

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """Write alone, as `QueueFile.transaction` lets us.

        One that fails has undone what we said, too: the next one says it again.
        """
        try:
            with self._access.file.transaction(durable=False) as db:
                yield db
        except BaseException:
            self._access.beat_due = self._looked_for_until = 0.0
            self.end()
            raise

    def join(self, db: sqlite3.Connection, start: Start) -> None:
        """Make the group known to every topic; what is new begins at `start`."""
        self._generation = self._access.file.version_within(db)[0]
        self._looked_for_until = self._access.awake() + ALIVE_FOR / 3
        turns = Turns(self._group, (self._joined(db, topic, start) for topic in self._topics))
        if turns.grps != self._turns.grps:
            self._turns, self._count_due = turns, 0.0
        self._access.living[self._feed] = turns.grps
        self._say(db, {self._feed: turns.grps})

    def turns(self, db: sqlite3.Connection) -> Turns:
        """Return the groups of its topics.

        One that is gone was deleted with the file: what is in the new one, it owes. That of a
        listener was swept, since it was not heard of; what it has missed, it cannot know.
        """
        generation = self._access.file.version_within(db)[0]
        if generation != self._generation or self._access.awake() >= self._looked_for_until:
            self._check_listener(db)
            self.join(db, Start.EARLIEST)
        self.beat(db)
        return self._turns

    def beat(self, db: sqlite3.Connection) -> None:
        """Say that we live, and all consumers of this layer, where that is due."""
        access, awake = self._access, self._access.awake()
        if awake >= access.beat_due:
            self._say(db, access.living)
            access.beat_due = awake + ALIVE_FOR / 3

    def count(self, db: sqlite3.Connection, fetched: int = 0) -> None:
        """Count what is not given to the group, of which so many were just now."""
        awake = self._access.awake()
        if self._turns.are_few or awake >= self._count_due:
            self.lag, self._count_due = self._turns.lag(db), awake + COUNT_EACH
        else:
            self.lag = max(0, self.lag - fetched)

    def end(self) -> None:
        """Let nobody say any more that we live."""
        self._access.living.pop(self._feed, None)

    def leave(self, db: sqlite3.Connection) -> None:
        """Say that we live no more."""
        self.end()
        store.leave(db, self._turns.grps, self._feed)

    def _say(self, db: sqlite3.Connection, living: Mapping[int, AbstractSet[int]]) -> None:
        until, before = self._access.awake() + ALIVE_FOR, db.total_changes
        for feed, grps in [*living.items()]:  # Race: one may end meanwhile, in the loop's thread
            store.heartbeat(db, grps, feed, until)
        self._access.file.count_no_news(db.total_changes - before)

    def _joined(self, db: sqlite3.Connection, topic: str, start: Start) -> int:
        grp = store.join(db, topic, self._group, start)
        if self._in_key_order:
            keep_keys(db, grp)
        return grp

    def _check_listener(self, db: sqlite3.Connection) -> None:
        if self._group.startswith(LISTENERS) and not all(
            store.find(db, topic, self._group) for topic in self._topics
        ):
            raise LayerError(
                f"group {self._group!r} was removed, since its listener was silent for too long: "
                "messages were missed; subscribe again"
            )
