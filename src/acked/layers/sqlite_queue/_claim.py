"""Leasing what a group is owed, within one transaction; the steps are explained in `_sql`."""

import math
import secrets
import sqlite3
from collections.abc import Set as AbstractSet
from typing import Final

from acked.layers._shared.headers import headers_in
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._rows import GroupRow, RowLease
from acked.layers.sqlite_queue._turns import PUT_OFF, SERVED, Turns
from acked.types import Leased, Record, Token

__all__ = ("Claim",)

CLAIM_BYTES: Final = 2 * 1024 * 1024
"""A claim stops after so many bytes: `limit` large messages need not fit into memory."""

PAGE: Final = 1000
"""How many ended leases and delays a claim frees at most, beyond what it may take itself."""


class Claim:
    """Leases what a group is owed, in one transaction.

    Topics that have something get equal shares, in their turn; a share that one cannot fill goes to
    the others. After `take`, `batch` is what was leased, `due` the moment at which to look again
    though nobody says so, and `fetched` how much of the batch the group was never given before.
    """

    def __init__(
        self, db: sqlite3.Connection, *, lease: float, now: float, held: AbstractSet[Token]
    ) -> None:
        self.batch: list[Leased] = []
        self.due = math.inf
        self.fetched = 0
        self._db = db
        self._now = now
        self._until = now + lease
        self._held = held
        self._lease = secrets.randbits(62) | 1  # not `random`: forked processes share its state
        self._bytes = 0
        self._leases: list[tuple[object, ...]] = []
        self._served: list[tuple[object, ...]] = []
        self._limit = 0
        self._page_left = 0

    def take(self, turns: Turns, limit: int) -> None:
        """Lease up to `limit` messages of the topics of `turns`."""
        self._limit, self._page_left = limit, limit + PAGE
        for grp in turns.overdue(self._db, self._now, self._page_left + len(self._held)):
            if self._page_left > 0 and not self._free_due(grp, self._page_left):
                self._db.execute(PUT_OFF, (grp, grp, grp))
        turn = 0
        while (room := self._room()) and (ready := turns.ready(self._db, self._now, room)):
            turn = turn or turns.last(self._db)
            share = max(1, room // len(ready))
            for queue in ready:
                if self._room():
                    turn += 1
                    self._serve(queue, min(share, self._room()), turn)
            self._write()
        self.due = self._next_look(turns)

    def _next_look(self, turns: Turns) -> float:
        if self._page_left <= 0:
            return self._now
        return turns.next_moment(self._db, self._now) or math.inf

    def _free_due(self, grp: int, most: int) -> int:
        """Free up to `most` of what was due, but for what we hold; return how many."""
        held = self._held
        due = self._db.execute(sql.DUE, (grp, self._now, most + len(held))).fetchall()
        free = [(grp, seq) for seq, lease in due if (grp, seq, lease) not in held]
        self._page_left -= max(1, len(free))
        self._db.executemany(sql.FREE, free)
        return len(free)

    def _write(self) -> None:
        """Write down what was leased of what was new, and how far each topic was served."""
        self._db.executemany(sql.LEASE_FRESH, self._leases)
        self._db.executemany(SERVED, self._served)
        self._leases.clear()
        self._served.clear()

    def _room(self) -> int:
        return self._limit - len(self.batch) if self._bytes < CLAIM_BYTES else 0

    def _serve(self, queue: GroupRow, share: int, turn: int) -> None:
        """Lease a share of `queue`, and note how far it came, and whether it may have more."""
        until = len(self.batch) + share
        if queue.is_ranked:
            asked = {"grp": queue.grp, "topic": queue.topic, "now": self._now}
            self._db.execute(sql.RANK, asked)
            self._db.execute(sql.MOVE_RANKED, asked)
        if queue.has_due:
            self._free_due(queue.grp, max(share, self._page_left))
        if queue.is_ranked or queue.has_due:
            self._returned(queue, share)
        room = min(until - len(self.batch), self._room())
        cursor, given = self._fresh(queue, room) if room else (queue.cursor, 0)
        self.fetched += given
        has_more = len(self.batch) == until or not self._room()
        self._served.append((cursor, given, turn, has_more, queue.grp, queue.grp))

    def _returned(self, queue: GroupRow, room: int) -> None:
        rows = self._db.execute(sql.RETURNED, {"grp": queue.grp, "room": room})
        last, first_seen = self._read(queue, rows)
        if last:
            self._db.execute(sql.LEASE_RETURNED, self._leasing(queue, last))
        self._count_first_seen(queue, first_seen)

    def _fresh(self, queue: GroupRow, room: int) -> tuple[int, int]:
        """Lease what is past the cursor; return where that is now, and how many it passed."""
        asked = {"topic": queue.topic, "cursor": queue.cursor, "now": self._now, "room": room}
        before = len(self.batch)
        last, _ = self._read(queue, self._db.execute(sql.FRESH, asked))
        fresh = self.batch[before:]
        given = len(fresh)
        if given < room and self._room():  # then all that is left is delayed, or has a priority
            last = max(last, queue.passed_by)
        if not last:
            return queue.cursor, 0
        until, number = self._until, self._lease
        for one in fresh:
            key = one.record.key if queue.in_order else None
            self._leases.append((queue.grp, int(one.position), until, number, key))
        if queue.passed_by:
            given += self._db.execute(sql.DELAY_FRESH, self._leasing(queue, last)).rowcount
        return last, given

    def _count_first_seen(self, queue: GroupRow, count: int) -> None:
        if count:
            self._db.execute(sql.COUNT_FETCHED, (count, queue.grp))
            self.fetched += count

    def _read(self, queue: GroupRow, rows: sqlite3.Cursor) -> tuple[int, int]:
        """Add `rows` to the batch, until it has bytes enough.

        Returns the last number, or 0, and how many of them were owed from the group's beginning.
        """
        last = first_seen = 0
        grp, topic, *_ = queue
        number, batch = self._lease, self.batch
        for last, attempt, failures, alone, lease, name, key, headers, *rest in rows:
            content_type, timestamp, body, expires = rest
            record = Record(topic, body, name, key, headers_in(headers), content_type, timestamp)
            token = RowLease(grp, last, number)
            is_expired = 0 < expires <= self._now
            batch.append(Leased(record, token, attempt, str(last), failures, alone, is_expired))
            first_seen += lease == sql.NEVER_FETCHED
            self._bytes += len(body) + len(key or "") + len(headers or "")
            if self._bytes >= CLAIM_BYTES:
                break
        rows.close()
        return last, first_seen

    def _leasing(self, queue: GroupRow, last: int) -> dict[str, int | float | str]:
        return {
            "grp": queue.grp,
            "topic": queue.topic,
            "cursor": queue.cursor,
            "in_order": queue.in_order,
            "last": last,
            "until": self._until,
            "lease": self._lease,
            "now": self._now,
        }
