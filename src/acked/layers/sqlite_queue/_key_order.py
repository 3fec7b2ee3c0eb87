"""Claims in the order of keys: of a key one message at most is leased in a group, the earliest.

A message of a key of which an earlier one is in `debt` is *parked* there by the claim that comes to
it: a row with `due` = infinity, which no later claim walks over. Whatever deletes a row of that key
frees the first parked one, by a trigger; so it does not matter who settles, or removes. The first
row of a key is never parked, hence what is parked is always behind one that is not.

`debt.key` is what all that looks up. It is written for groups of which a consumer has asked for the
order (`grp.in_order`), and by all consumers of these; for others it is NULL and in no index.
"""

import math
import sqlite3
from typing import Final

from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._claim import PAGE, Claim
from acked.layers.sqlite_queue._rows import GroupRow
from acked.layers.sqlite_queue._turns import Turns

__all__ = ("ClaimInOrder", "keep_keys")

ASK_FOR_ORDER: Final = "UPDATE grp SET in_order = 1 WHERE id = ? AND in_order = 0"

KEEP_KEYS: Final = """
    UPDATE debt SET key = (SELECT m.key FROM message m WHERE m.seq = debt.seq) WHERE grp = ?"""

FREE_KEYS: Final = """
    SELECT seq, key FROM debt INDEXED BY debt_due WHERE grp = :grp AND due <= 0
    ORDER BY due, seq LIMIT :most"""

FRESH_KEYS: Final = """
    SELECT seq, key, due FROM message WHERE topic = :topic AND seq > :cursor AND priority = 0
    ORDER BY seq LIMIT :most"""

FIRST_OF_KEY: Final = """
    SELECT seq FROM debt INDEXED BY debt_key WHERE grp = ? AND key = ? ORDER BY seq LIMIT 1"""

PARK: Final = "UPDATE debt SET due = ? WHERE grp = ? AND seq = ?"

LEASE_ONE: Final = (
    "UPDATE debt SET due = ?, lease = ?, attempt = attempt + 1, alone = alone + alone % 2 "
    "WHERE grp = ? AND seq = ?"
)

OWE_ONE: Final = "INSERT INTO debt (grp, seq, due, lease, attempt, key) VALUES (?, ?, ?, ?, ?, ?)"

ONE: Final = """
    SELECT d.seq, d.attempt, d.failures, (d.alone + 1) / 2, :before,
        m.id, m.key, m.headers, m.content_type, m.timestamp, m.body, m.expires
    FROM debt d JOIN message m ON m.seq = d.seq WHERE d.grp = :grp AND d.seq = :seq"""


def keep_keys(db: sqlite3.Connection, grp: int) -> None:
    """Let the rows of a group have their keys from now on."""
    if db.execute(ASK_FOR_ORDER, (grp,)).rowcount:
        db.execute(KEEP_KEYS, (grp,))


class ClaimInOrder(Claim):
    """Leases none of a key of which an earlier one is owed.

    It parks what may not come yet; a page of it, and then it is to be made again.
    """

    _parks_left = PAGE

    def _next_look(self, turns: Turns) -> float:
        return super()._next_look(turns) if self._parks_left > 0 else self._now

    def _room(self) -> int:
        return super()._room() if self._parks_left > 0 else 0

    def _returned(self, queue: GroupRow, room: int) -> None:
        grp, room_until = queue.grp, len(self.batch) + room
        walked = {"grp": grp, "most": room + self._parks_left}
        for seq, key in self._db.execute(FREE_KEYS, walked).fetchall():
            if not self._goes_on(room_until):
                break
            if key is None or self._first_of(grp, key) == seq:
                self._lease_one(queue, seq)
            else:
                self._parks_left -= 1
                self._db.execute(PARK, (math.inf, grp, seq))

    def _fresh(self, queue: GroupRow, room: int) -> tuple[int, int]:
        before, grp, last = len(self.batch), queue.grp, queue.cursor
        walked = {"topic": queue.topic, "cursor": last, "most": room + self._parks_left}
        fresh = self._db.execute(FRESH_KEYS, walked).fetchall()
        if not fresh:  # then all that is there has a priority
            last = max(last, queue.passed_by)
        for seq, key, published_for in fresh:
            if not self._goes_on(before + room):
                break
            last = seq
            is_first = key is None or self._first_of(grp, key) is None
            if published_for > self._now:
                # Its delay holds its successors as that of a nack does.
                self._db.execute(OWE_ONE, (grp, seq, published_for, 0, 0, key))
                self._parks_left -= 1
                continue
            due = 0.0 if is_first else math.inf
            self._db.execute(OWE_ONE, (grp, seq, due, sql.NEVER_FETCHED, 0, key))
            if is_first:
                self._lease_one(queue, seq)
            else:
                self._parks_left -= 1
        return last, 0  # each was counted by itself

    def _goes_on(self, room_until: int) -> bool:
        return len(self.batch) < room_until and self._room() > 0

    def _first_of(self, grp: int, key: str) -> int | None:
        found: tuple[int] | None = self._db.execute(FIRST_OF_KEY, (grp, key)).fetchone()
        return found[0] if found else None

    def _lease_one(self, queue: GroupRow, seq: int) -> None:
        (before,) = self._db.execute(LEASE_OF, (queue.grp, seq)).fetchone()
        self._db.execute(LEASE_ONE, (self._until, self._lease, queue.grp, seq))
        asked = {"grp": queue.grp, "seq": seq, "before": before}
        self._count_first_seen(queue, self._read(queue, self._db.execute(ONE, asked))[1])


LEASE_OF: Final = "SELECT lease FROM debt WHERE grp = ? AND seq = ?"
