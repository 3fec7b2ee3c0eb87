"""Leasing what a group is owed, within one transaction; the steps are explained in `_sql`."""

import math
import secrets
import sqlite3
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from acked.layers._shared.headers import headers_in
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._rows import GroupRow, RowLease
from acked.types import Leased, Record, Token

__all__ = ("Claim",)

CLAIM_BYTES: Final = 2 * 1024 * 1024
"""A claim stops after so many bytes: `limit` large messages need not fit into memory."""

PAGE: Final = 1000
"""How many ended leases and delays a claim frees at most, beyond what it may take itself."""


class Claim:
    """Leases what a group is owed, in one transaction.

    Several topics get equal shares, in the order given; a share that one cannot fill goes to the
    others. After `take`, `batch` is what was leased, `due` the next moment at which a delay or
    a lease of the group ends, and `lag` what was published and not given to the group yet.
    """

    def __init__(
        self, db: sqlite3.Connection, *, lease: float, now: float, held: AbstractSet[Token]
    ) -> None:
        self.batch: list[Leased] = []
        self.due = math.inf
        self.lag = 0
        self._db = db
        self._now = now
        self._until = now + lease
        self._held = held
        self._lease = secrets.randbits(62) | 1  # not `random`: forked processes share its state
        self._bytes = 0

    def take(self, queues: Iterable[GroupRow], limit: int) -> None:
        """Lease up to `limit` messages of `queues`."""
        known = list(queues)
        self.lag = sum(queue.lag for queue in known)
        for queue in known:
            self._rank(queue)
            self._free_due(queue, limit + PAGE)
        ready = known
        while ready and self._room(limit):
            share = max(1, self._room(limit) // len(ready))
            ready = [rest for queue in ready if (rest := self._share(queue, share, limit))]
        self.due = min(map(self._next_due, known), default=math.inf)

    def _rank(self, queue: GroupRow) -> None:
        asked = {"grp": queue.grp, "topic": queue.topic, "now": self._now}
        if self._db.execute(sql.RANK, asked).rowcount:
            self._db.execute(sql.MOVE_RANKED, asked)

    def _free_due(self, queue: GroupRow, page: int) -> None:
        grp, held = queue.grp, self._held
        due = self._db.execute(sql.DUE, (grp, self._now, page + len(held))).fetchall()
        if due:
            free = [(grp, seq) for seq, lease in due if (grp, seq, lease) not in held]
            self._db.executemany(sql.FREE, free)

    def _share(self, queue: GroupRow, share: int, limit: int) -> GroupRow | None:
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

    def _returned(self, queue: GroupRow, room: int) -> None:
        rows = self._db.execute(sql.RETURNED, {"grp": queue.grp, "room": room})
        last, first_seen = self._read(queue, rows)
        if last:
            self._db.execute(sql.LEASE_RETURNED, self._leasing(queue, last))
        self._count_first_seen(queue, first_seen)

    def _fresh(self, queue: GroupRow, room: int) -> GroupRow:
        if not room:
            return queue
        asked = {"topic": queue.topic, "cursor": queue.cursor, "now": self._now, "room": room}
        before = len(self.batch)
        last, _ = self._read(queue, self._db.execute(sql.FRESH, asked))
        if not last:  # then all that is there is delayed, or has a priority
            last = self._db.execute(sql.LAST_PASSED_BY, asked).fetchone()[0]
        if not last:
            return queue
        leasing = self._leasing(queue, last)
        self._db.execute(sql.LEASE_FRESH, leasing)
        count = len(self.batch) - before + self._db.execute(sql.DELAY_FRESH, leasing).rowcount
        self._db.execute(sql.MOVE_CURSOR, {**leasing, "count": count})
        self.lag -= count
        return queue._replace(cursor=last)

    def _count_first_seen(self, queue: GroupRow, count: int) -> None:
        if count:
            self._db.execute(sql.COUNT_FETCHED, (count, queue.grp))
            self.lag -= count

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

    def _next_due(self, queue: GroupRow) -> float:
        asked = (queue.grp, self._now)
        found: tuple[float] | None = self._db.execute(sql.NEXT_DUE, asked).fetchone()
        return found[0] if found else math.inf
