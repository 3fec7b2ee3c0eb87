"""What a topic keeps, looked at without a lease, and removed row by row, within a transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from acked.layers._shared.headers import headers_in
from acked.layers.sqlite_queue import _sql as sql
from acked.types import KeptRecord, Record

__all__ = ("last_of", "page_of", "remove")

PAGE: Final = 500
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page ends after so many bytes of bodies: large ones need not fit into memory together."""


LAST_KEPT: Final = "SELECT max(seq) FROM message WHERE topic = ?"

_HELD = """SELECT 1 FROM grp g JOIN debt d ON d.grp = g.id
    WHERE g.topic = :topic AND d.seq = {seq} AND d.lease > 0 AND d.due > :now"""

HELD_BY_ANY: Final = _HELD.format(seq=":seq")

KEPT: Final = f"""
    SELECT seq, EXISTS ({_HELD.format(seq="message.seq")}),
        id, key, headers, content_type, timestamp, body
    FROM message WHERE topic = :topic AND seq > :after AND seq <= :last
    ORDER BY seq LIMIT :page"""  # noqa: S608 - constants

REMOVE_MESSAGE: Final = "DELETE FROM message WHERE topic = :topic AND seq = :seq"

COUNT_REMOVED: Final = f"""
    UPDATE grp SET fetched = fetched + 1 WHERE topic = :topic AND (
        EXISTS (
            SELECT 1 FROM message m WHERE m.topic = :topic AND m.seq = :seq
            AND CASE WHEN m.priority > 0 THEN grp.ranked ELSE grp.cursor END < m.seq
        )
        OR EXISTS (
            SELECT 1 FROM debt d
            WHERE d.grp = grp.id AND d.seq = :seq AND d.lease = {sql.NEVER_FETCHED}
        )
    )"""  # noqa: S608 - a constant
"""What was never given to a group and never will be: else its lag would count it for ever."""

REMOVE_DEBTS: Final = """
    DELETE FROM debt WHERE seq = :seq AND grp IN (SELECT id FROM grp WHERE topic = :topic)"""


def last_of(db: sqlite3.Connection, topic: str) -> int:
    """Return the number of the last record that `topic` keeps, 0 if there is none."""
    found: tuple[int | None] = db.execute(LAST_KEPT, (topic,)).fetchone()
    return found[0] or 0


def page_of(
    db: sqlite3.Connection, topic: str, after: int, last: int, now: float
) -> list[KeptRecord]:
    """Return the records of `topic` behind the number `after`, up to `last`: a page of them."""
    asked = {"topic": topic, "after": after, "last": last, "now": now, "page": PAGE}
    page: list[KeptRecord] = []
    size = 0
    rows = db.execute(KEPT, asked)
    for seq, is_held, name, key, headers, content_type, timestamp, body in rows:
        record = Record(topic, body, name, key, headers_in(headers), content_type, timestamp)
        page.append(KeptRecord(record, str(seq), bool(is_held)))
        size += len(body)
        if size >= PAGE_BYTES:
            break
    rows.close()
    return page


def remove(db: sqlite3.Connection, topic: str, numbers: Sequence[int], now: float) -> list[bool]:
    """Let no group of `topic` owe `numbers`; False for those that a consumer holds."""
    return [_removed(db, {"topic": topic, "seq": number, "now": now}) for number in numbers]


def _removed(db: sqlite3.Connection, asked: dict[str, str | int | float]) -> bool:
    if db.execute(HELD_BY_ANY, asked).fetchone():
        return False
    db.execute(COUNT_REMOVED, asked)
    if db.execute(REMOVE_MESSAGE, asked).rowcount:
        db.execute(REMOVE_DEBTS, asked)
    return True
