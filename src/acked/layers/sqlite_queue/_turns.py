"""Which topics of a subscription have something, and whose turn it is: a look asks for no others.

What a look costs must not grow with the topics of a subscription. So each group of a topic has the
moment at which somebody has to look at it (`grp.due`): 0 if something may be ready, infinity if
nothing is owed but what is parked. It may be too early, never too late: triggers bring it forward
whenever something is published or comes free, whoever does that; the claim that comes and finds
nothing puts it off, to what `debt` says.

Those that are ready are served in the order of `turn`. Whoever was served comes behind all that are
ready then, so nobody is passed by for ever, by however many consumers.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from acked.layers.sqlite_queue._rows import GroupRow

__all__ = ("Turns",)

FEW: Final = 32
"""Up to so many groups are asked for by number; more by name, with those of other subscriptions."""

OF_NAME: Final = "g.name = ?"

READY: Final = """
    SELECT g.id, g.topic, g.cursor, g.in_order,
        EXISTS (
            SELECT 1 FROM message m INDEXED BY message_ranked
            WHERE m.topic = g.topic AND m.seq > g.ranked AND m.priority > 0
        ),
        EXISTS (SELECT 1 FROM debt d INDEXED BY debt_due WHERE d.grp = g.id AND d.due <= ?),
        max(
            coalesce((
                SELECT max(seq) FROM message m INDEXED BY message_due
                WHERE m.topic = g.topic AND m.seq > g.cursor AND m.due > 0
            ), 0),
            coalesce((
                SELECT max(seq) FROM message m INDEXED BY message_ranked
                WHERE m.topic = g.topic AND m.seq > g.cursor AND m.priority > 0
            ), 0)
        )
    FROM grp g WHERE {which} AND g.due = 0 ORDER BY g.turn"""

OVERDUE: Final = "SELECT g.id FROM grp g WHERE g.due <= ? AND {which} AND g.due > 0 ORDER BY g.due"

NEXT_MOMENT: Final = "SELECT g.id, g.due FROM grp g WHERE g.due > ? AND {which} ORDER BY g.due"

BEHIND: Final = """
    SELECT g.id, t.published - g.fetched FROM grp g JOIN topic t ON t.name = g.topic
    WHERE {which}"""

LAST_TURN: Final = "SELECT coalesce(max(turn), 0) FROM grp WHERE name = ? AND due = 0"

_ACTUAL: Final = """coalesce((
        SELECT due FROM debt INDEXED BY debt_due WHERE grp = ? AND due > 0 ORDER BY due LIMIT 1
    ), 9e999)"""

SERVED: Final = f"""
    UPDATE grp SET cursor = ?, fetched = fetched + ?, turn = ?,
        due = CASE WHEN ? THEN 0 ELSE {_ACTUAL} END
    WHERE id = ?"""  # noqa: S608 - a constant

PUT_OFF: Final = f"UPDATE grp SET due = {_ACTUAL} WHERE id = ? AND due <> {_ACTUAL}"  # noqa: S608


class Turns:
    """The groups of some topics that have one name, within a transaction that is passed in."""

    def __init__(self, name: str, grps: Iterable[int]) -> None:
        self.grps: Final = frozenset(grps)
        self._name = name
        self._which = OF_NAME
        self._values: Sequence[str | int] = [name]
        if self.are_few:
            self._which = f"g.id IN ({', '.join('?' * len(self.grps))})"
            self._values = sorted(self.grps)

    def __repr__(self) -> str:
        return f"<turns of {len(self.grps)} topics>"

    @property
    def are_few(self) -> bool:
        """Whether it costs next to nothing to ask for all of them."""
        return len(self.grps) <= FEW

    def ready(self, db: sqlite3.Connection, now: float, most: int) -> Sequence[GroupRow]:
        """Return up to `most` groups that may have something, in their turn."""
        rows = map(GroupRow._make, self._rows(db, READY, now))
        return list(islice((row for row in rows if row.grp in self.grps), most))

    def overdue(self, db: sqlite3.Connection, now: float, most: int) -> Sequence[int]:
        """Return up to `most` groups of which the clock may have freed something until `now`."""
        rows = self._rows(db, OVERDUE, now)
        return list(islice((grp for (grp,) in rows if grp in self.grps), most))

    def next_moment(self, db: sqlite3.Connection, now: float) -> float | None:
        """Return when the clock may free something, after `now`; None if it frees nothing."""
        rows = self._rows(db, NEXT_MOMENT, now)
        return next((due for grp, due in rows if grp in self.grps), None)

    def lag(self, db: sqlite3.Connection) -> int:
        """Return what was published and not given to any of them yet."""
        return sum(behind for grp, behind in self._rows(db, BEHIND) if grp in self.grps)

    def last(self, db: sqlite3.Connection) -> int:
        """Return the turn that comes last among all that are ready, others' too."""
        (turn,) = db.execute(LAST_TURN, (self._name,)).fetchone()
        return int(turn)

    def _rows(self, db: sqlite3.Connection, statement: str, *more: float) -> sqlite3.Cursor:
        return db.execute(statement.format(which=self._which), (*more, *self._values))
