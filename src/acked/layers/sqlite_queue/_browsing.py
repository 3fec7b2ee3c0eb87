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


def last_of(db: sqlite3.Connection, topic: str) -> int:
    """Return the number of the last record that `topic` keeps, 0 if there is none."""
    found: tuple[int | None] = db.execute(sql.LAST_KEPT, (topic,)).fetchone()
    return found[0] or 0


def page_of(
    db: sqlite3.Connection, topic: str, after: int, last: int, now: float
) -> list[KeptRecord]:
    """Return the records of `topic` behind the number `after`, up to `last`: a page of them."""
    asked = {"topic": topic, "after": after, "last": last, "now": now, "page": PAGE}
    page: list[KeptRecord] = []
    size = 0
    rows = db.execute(sql.KEPT, asked)
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
    if db.execute(sql.HELD_BY_ANY, asked).fetchone():
        return False
    if db.execute(sql.REMOVE_MESSAGE, asked).rowcount:
        db.execute(sql.COUNT_REMOVED, asked)
        db.execute(sql.REMOVE_DEBTS, asked)
    return True
