"""Groups that go: removed by their users, or left behind by listeners that were killed.

To remove a group is one short transaction: from then on it owes nothing, and its name is free. What
it alone owed is deleted in pages afterwards, each a transaction of its own, so that nobody waits
for a million rows. If the process ends meanwhile, another one goes on, as soon as it sweeps.
"""

import sqlite3
from typing import Final

from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue import _store as store

__all__ = ("ALIVE_FOR", "LISTENERS", "end", "end_dead_listeners", "sweep_page")

ALIVE_FOR: Final = 30.0
"""Seconds for which a consumer counts as living after it was last heard of."""

DEAD_AFTER: Final = 300.0
"""Seconds of silence after which a listener's own group is removed by whoever comes by."""

LISTENERS: Final = "acked-news-"
"""What the name of a group begins with that belongs to one listener: of `fire_and_forget`."""

PAGE: Final = 1000
"""How many rows one transaction of a removal deletes."""


def end(db: sqlite3.Connection, topic: str, group: str, *, now: float, awake: float) -> bool:
    """Let `group` of `topic` owe nothing more; False, and no change, if a consumer lives."""
    found = store.find(db, topic, group)
    if found is None:
        return True
    if db.execute(sql.HELD, (found, now)).fetchone():
        return False
    if db.execute(sql.ALIVE, (found, awake)).fetchone():
        return False
    _end(db, found)
    return True


def end_dead_listeners(db: sqlite3.Connection, awake: float) -> None:
    """Let the groups owe nothing more whose only consumer is not heard of any more."""
    last = LISTENERS[:-1] + chr(ord(LISTENERS[-1]) + 1)
    silent = {"first": LISTENERS, "last": last, "long_ago": awake - DEAD_AFTER}
    for (grp,) in db.execute(sql.DEAD_LISTENERS, silent).fetchall():
        _end(db, grp)


def _end(db: sqlite3.Connection, grp: int) -> None:
    # No group can be called so: names have no control characters.
    db.execute(sql.END_GROUP, (store.last_published(db), f"\0{grp}", grp))


def sweep_page(db: sqlite3.Connection) -> bool:
    """Delete a page of what a group that has ended kept; False if there is none."""
    found: tuple[int, str, int, int] | None = db.execute(sql.ENDED).fetchone()
    if found is None:
        return False
    grp, topic, cursor, ended = found
    page = {"grp": grp, "topic": topic, "cursor": cursor, "ended": ended, "page": PAGE}
    if (last := db.execute(sql.FRESH_PAGE, page).fetchone()[0]) is not None:
        db.execute(sql.DROP_FRESH, {**page, "last": last})
        db.execute(sql.SKIP_FRESH, {**page, "last": last})
    elif (last := db.execute(sql.DEBT_PAGE, page).fetchone()[0]) is not None:
        db.execute(sql.DROP_OWED, {**page, "last": last})
        db.execute(sql.DROP_DEBTS, {**page, "last": last})
    else:
        db.execute(sql.DROP_CONSUMERS, page)
        db.execute(sql.DROP_GROUP, page)
    return True
