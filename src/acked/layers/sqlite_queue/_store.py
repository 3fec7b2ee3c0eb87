"""What a queue does within one transaction: publish, join, settle, extend, release.

Plain functions over an open transaction; `now` is passed in. They block, and know no loop.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

from acked.errors import LayerError
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._rows import Row, RowLease, row_of
from acked.types import Outcome, Reply, Settlement, Start, Token, Verb

__all__ = (
    "extend",
    "find",
    "heartbeat",
    "join",
    "leave",
    "nack",
    "note_alone",
    "publish",
    "publish_once",
    "release",
    "settle",
)


def publish(db: sqlite3.Connection, rows: Sequence[Row]) -> range:
    """Store `rows` and return their numbers."""
    db.executemany(sql.PUBLISH, rows)
    for topic, count in Counter([row[0] for row in rows]).items():
        if not db.execute(sql.COUNT_PUBLISHED, (count, topic)).rowcount:
            db.execute(sql.FIRST_PUBLISHED, (count, topic))
    last = last_published(db)
    return range(last - len(rows) + 1, last + 1)


def publish_once(
    db: sqlite3.Connection, row: Row, schedule: str, moment: float, *, begins: bool
) -> float | None:
    """Store `row` and note `moment`, unless as late a one is noted; return what was noted."""
    db.execute(sql.MAKE_SCHEDULES)
    found: tuple[float] | None = db.execute(sql.NOTED, (schedule,)).fetchone()
    before = found[0] if found else None
    if before is None or before < moment:
        if before is not None or not begins:
            publish(db, [row])
        db.execute(sql.NOTE, (schedule, moment))
    return before


def find(db: sqlite3.Connection, topic: str, group: str) -> int | None:
    """Return the number of `group` of `topic`, if there is one."""
    found: tuple[int] | None = db.execute(sql.FIND_GROUP, (topic, group)).fetchone()
    return found[0] if found else None


def join(db: sqlite3.Connection, topic: str, group: str, start: Start) -> int:
    """Return the number of `group` of `topic`; one that is new begins at `start`."""
    found = find(db, topic, group)
    if found is not None:
        return found
    cursor = 0 if start.kind == "earliest" else last_published(db)
    named = {"topic": topic, "group": group, "cursor": cursor}
    grp = db.execute(sql.CREATE_GROUP, named).lastrowid or 0
    if start.kind == "time":
        db.execute(sql.OWE_SINCE, (grp, topic, start.time))
        (owed,) = db.execute(sql.COUNT_OWED, (grp,)).fetchone()
        db.execute(sql.COUNT_FETCHED, (-owed, grp))
    return grp


def heartbeat(db: sqlite3.Connection, grps: Iterable[int], feed: int, until: float) -> None:
    """Say that the consumer `feed` lives, and will say so again before `until`."""
    db.executemany(sql.HEARTBEAT, [(grp, feed, until) for grp in grps])


def leave(db: sqlite3.Connection, grps: Iterable[int], feed: int) -> None:
    """Say that the consumer `feed` has left."""
    db.executemany(sql.FAREWELL, [(grp, feed) for grp in grps])


def settle(db: sqlite3.Connection, batch: Sequence[Settlement], now: float) -> list[Reply]:
    """Carry out `batch` and return one answer for each."""
    return [_settled(db, settlement, now) for settlement in batch]


def _settled(db: sqlite3.Connection, settlement: Settlement, now: float) -> Reply:
    token = settlement.token
    if not isinstance(token, RowLease):
        return Outcome.LOST
    if settlement.verb is Verb.NACK:
        return nack(db, token, settlement.delay, now, failed=True)
    dead_letter: Row | None = None
    if settlement.dead_letter is not None:
        try:
            dead_letter = row_of(settlement.dead_letter, now)
        except UnicodeEncodeError as error:  # it stays owed, and spoils no neighbour
            refused = LayerError("the dead letter has characters that UTF-8 cannot carry")
            refused.__cause__ = error
            return refused
    if not db.execute(sql.SETTLE, token).rowcount:
        return Outcome.LOST
    if dead_letter is not None:
        publish(db, [dead_letter])
    db.execute(sql.FORGET, (token.seq,))
    return Outcome.CONFIRMED


def nack(
    db: sqlite3.Connection, token: Token, delay: float, now: float, *, failed: bool
) -> Outcome:
    """Give `token` back after `delay` seconds, its attempt charged; `failed` as one that failed."""
    return _changed(db, sql.NACK, token, now + delay if delay > 0 else None, failed, failed)


def note_alone(db: sqlite3.Connection, token: Token, *, alone: bool) -> Outcome:
    """Note that `token` is handled alone, or not."""
    return _changed(db, sql.NOTE_ALONE, token, alone)


def extend(
    db: sqlite3.Connection, tokens: Iterable[Token], seconds: float, now: float
) -> list[Outcome]:
    """Let the leases of `tokens` end `seconds` from now."""
    return [_changed(db, sql.EXTEND, token, now + seconds) for token in tokens]


def release(db: sqlite3.Connection, tokens: Iterable[Token]) -> None:
    """Give `tokens` back, no attempt charged."""
    for token in tokens:
        _changed(db, sql.RELEASE, token)


def _changed(
    db: sqlite3.Connection, statement: str, token: Token, *values: float | None
) -> Outcome:
    if not isinstance(token, RowLease):
        return Outcome.LOST
    changed = db.execute(statement, (*values, *token)).rowcount
    return Outcome.CONFIRMED if changed else Outcome.LOST


def last_published(db: sqlite3.Connection) -> int:
    """Return the number of the record that was published last; 0 before there is one."""
    found: tuple[int] | None = db.execute(sql.LAST_PUBLISHED).fetchone()
    return found[0] if found else 0
