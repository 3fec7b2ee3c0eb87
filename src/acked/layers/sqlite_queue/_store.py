"""What a queue does within one transaction: publish, join, claim, settle, extend, release.

Plain functions over an open transaction; `now` is passed in. They block, and know no loop.
"""

import math
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from acked.layers.sqlite_queue import _sql as sql
from acked.types import NO_HEADERS, Leased, Outcome, Record, Settlement, Start, Token, Verb

__all__ = (
    "Claim",
    "Row",
    "extend",
    "join",
    "nack",
    "publish",
    "release",
    "remove",
    "row_of",
    "settle",
)

CLAIM_BYTES: Final = 32 * 1024 * 1024
"""A claim stops after so many bytes of bodies: `limit` large ones need not fit into memory."""

Row: TypeAlias = tuple[str, str, str | None, str | None, str, float, bytes]
"""A record as it is stored."""

_decode_headers: Final = msgspec.json.Decoder(dict[str, str]).decode


class RowLease(NamedTuple):
    """The token of a lease: which debt, and the number that proves that we hold it."""

    grp: int
    seq: int
    lease: int


class Queue(NamedTuple):
    """One group of one topic."""

    grp: int
    topic: str
    cursor: int


def row_of(record: Record) -> Row:
    """Return `record` as it is stored; raise `UnicodeEncodeError` for what UTF-8 cannot carry."""
    f"{record.topic}{record.id}{record.key}{record.content_type}".encode()
    headers = msgspec.json.encode(dict(record.headers)).decode() if record.headers else None
    return (
        record.topic,
        record.id,
        record.key,
        headers,
        record.content_type,
        record.timestamp,
        record.body,
    )


def publish(db: sqlite3.Connection, rows: Sequence[Row]) -> range:
    """Store `rows` and return their numbers."""
    db.executemany(sql.PUBLISH, rows)
    last = _last_published(db)
    return range(last - len(rows) + 1, last + 1)


def join(db: sqlite3.Connection, topic: str, group: str, start: Start) -> Queue:
    """Return `group` of `topic`; one that is new begins at `start`."""
    found: tuple[int, int] | None = db.execute(sql.FIND_GROUP, (topic, group)).fetchone()
    if found is not None:
        return Queue(found[0], topic, found[1])
    cursor = 0 if start.kind == "earliest" else _last_published(db)
    grp = db.execute(sql.CREATE_GROUP, (topic, group, cursor)).lastrowid or 0
    if start.kind == "time":
        db.execute(sql.OWE_SINCE, (grp, topic, start.time))
    return Queue(grp, topic, cursor)


def remove(db: sqlite3.Connection, topic: str, group: str, now: float) -> bool:
    """Forget `group` of `topic` and what only it owes; False, and no change, if a lease is held."""
    found: tuple[int, int] | None = db.execute(sql.FIND_GROUP, (topic, group)).fetchone()
    if found is None:
        return True
    grp, cursor = found
    if db.execute(sql.HELD, (grp, now)).fetchone():
        return False
    db.execute(sql.FORGET_OWED, {"topic": topic, "grp": grp, "cursor": cursor})
    db.execute(sql.REMOVE_DEBTS, (grp,))
    db.execute(sql.REMOVE_GROUP, (grp,))
    return True


class Claim:
    """Leases what a group is owed, in one transaction.

    Several topics get equal shares, in the order given; a share that one cannot fill goes to the
    others. After `take`, `batch` is what was leased, and `due` the next moment at which a delay or
    a lease of the group ends.
    """

    def __init__(self, db: sqlite3.Connection, *, lease: float, now: float) -> None:
        self.batch: list[Leased] = []
        self.due = math.inf
        self._db = db
        self._now = now
        self._until = now + lease
        self._lease = secrets.randbits(62) | 1  # not `random`: forked processes share its state
        self._bytes = 0

    def take(self, queues: Iterable[Queue], limit: int) -> None:
        """Lease up to `limit` messages of `queues`."""
        known = list(queues)
        for queue in known:
            self._db.execute(sql.FREE_DUE, (queue.grp, self._now))
        ready = known
        while ready and self._room(limit):
            share = max(1, self._room(limit) // len(ready))
            ready = [rest for queue in ready if (rest := self._share(queue, share, limit))]
        self.due = min(map(self._next_due, known), default=math.inf)

    def _share(self, queue: Queue, share: int, limit: int) -> Queue | None:
        """Lease a share of `queue`; return it as it is afterwards, or None if it has no more."""
        room = min(share, self._room(limit))
        before = len(self.batch)
        if not room:
            return None
        self._returned(queue, room)
        rest = room - (len(self.batch) - before)
        after = self._fresh(queue, min(rest, self._room(limit)))
        return after if len(self.batch) - before == room else None

    def _room(self, limit: int) -> int:
        return limit - len(self.batch) if self._bytes < CLAIM_BYTES else 0

    def _returned(self, queue: Queue, room: int) -> None:
        rows = self._db.execute(sql.RETURNED, {"grp": queue.grp, "room": room})
        last = self._read(queue, rows)
        if last:
            self._db.execute(sql.LEASE_RETURNED, self._leasing(queue, last))

    def _fresh(self, queue: Queue, room: int) -> Queue:
        if not room:
            return queue
        asked = {"topic": queue.topic, "cursor": queue.cursor, "room": room}
        last = self._read(queue, self._db.execute(sql.FRESH, asked))
        if not last:
            return queue
        leasing = self._leasing(queue, last)
        self._db.execute(sql.LEASE_FRESH, leasing)
        self._db.execute(sql.MOVE_CURSOR, leasing)
        return queue._replace(cursor=last)

    def _read(self, queue: Queue, rows: sqlite3.Cursor) -> int:
        """Add `rows` to the batch, until it has bytes enough; return the last number, or 0."""
        last = 0
        grp, topic, _ = queue
        for last, attempt, name, key, headers, content_type, timestamp, body in rows:
            shown = _decode_headers(headers) if headers else NO_HEADERS
            record = Record(topic, body, name, key, shown, content_type, timestamp)
            token = RowLease(grp, last, self._lease)
            self.batch.append(Leased(record, token, attempt, str(last)))
            self._bytes += len(body)
            if self._bytes >= CLAIM_BYTES:
                break
        rows.close()
        return last

    def _leasing(self, queue: Queue, last: int) -> dict[str, int | float | str]:
        return {
            "grp": queue.grp,
            "topic": queue.topic,
            "cursor": queue.cursor,
            "last": last,
            "until": self._until,
            "lease": self._lease,
        }

    def _next_due(self, queue: Queue) -> float:
        found: tuple[float] | None = self._db.execute(sql.NEXT_DUE, (queue.grp,)).fetchone()
        return found[0] if found else math.inf


def settle(db: sqlite3.Connection, batch: Sequence[Settlement], now: float) -> list[Outcome]:
    """Carry out `batch` and return one outcome for each."""
    return [_settled(db, settlement, now) for settlement in batch]


def _settled(db: sqlite3.Connection, settlement: Settlement, now: float) -> Outcome:
    token = settlement.token
    if not isinstance(token, RowLease):
        return Outcome.LOST
    if settlement.verb is Verb.NACK:
        return nack(db, token, settlement.delay, now)
    dead_letter: Row | None = None
    if settlement.dead_letter is not None:
        try:
            dead_letter = row_of(settlement.dead_letter)
        except UnicodeEncodeError:
            return Outcome.UNKNOWN  # it stays owed, and spoils no neighbour
    if not db.execute(sql.SETTLE, (*token, now)).rowcount:
        return Outcome.LOST
    if dead_letter is not None:
        db.execute(sql.PUBLISH, dead_letter)
    db.execute(sql.FORGET, (token.seq,))
    return Outcome.CONFIRMED


def nack(db: sqlite3.Connection, token: Token, delay: float, now: float) -> Outcome:
    """Give `token` back after `delay` seconds, its attempt charged."""
    due = now + delay if delay > 0 else 0.0
    return _changed(db, sql.NACK, token, now, due)


def extend(
    db: sqlite3.Connection, tokens: Iterable[Token], seconds: float, now: float
) -> list[Outcome]:
    """Let the leases of `tokens` end `seconds` from now."""
    return [_changed(db, sql.EXTEND, token, now, now + seconds) for token in tokens]


def release(db: sqlite3.Connection, tokens: Iterable[Token], now: float) -> None:
    """Give `tokens` back, no attempt charged."""
    for token in tokens:
        _changed(db, sql.RELEASE, token, now)


def _changed(
    db: sqlite3.Connection, statement: str, token: Token, now: float, *values: float
) -> Outcome:
    if not isinstance(token, RowLease):
        return Outcome.LOST
    changed = db.execute(statement, (*values, *token, now)).rowcount
    return Outcome.CONFIRMED if changed else Outcome.LOST


def _last_published(db: sqlite3.Connection) -> int:
    found: tuple[int] | None = db.execute(sql.LAST_PUBLISHED).fetchone()
    return found[0] if found else 0
