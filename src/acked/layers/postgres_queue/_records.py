"""Records as the tables have them, and back."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import asyncpg

from acked.errors import LayerError
from acked.layers._postgres.texts import as_it_was, kept
from acked.layers._shared.headers import column_of, headers_in
from acked.layers.postgres_queue._next_look import Outlook
from acked.types import NO_HEADERS, Leased, Record

__all__ = (
    "Columns",
    "PostgresLease",
    "alike",
    "can_be_kept",
    "columns",
    "leased_from",
    "outlook_from",
    "placing_of",
    "record_from",
    "refusal_of",
)

Columns: TypeAlias = tuple[object, ...]
"""Records, each column as an array: topics, ids, keys, headers, types, times, bodies."""


class PostgresLease(NamedTuple):
    """The token of a lease: whose row, and the number that proves that we hold it."""

    grp: int
    seq: int
    lease: int


def columns(records: Sequence[Record]) -> Columns:
    """Return `records` as the arrays that `publish` and `settle` take; None where all are null."""
    keys = [None if record.key is None else kept(record.key) for record in records]
    headers = [column_of(record.headers) for record in records]
    return (
        [record.topic for record in records],
        [kept(record.id) for record in records],
        _unless_empty(keys),
        _unless_empty(headers),
        [kept(record.content_type) for record in records],
        [record.timestamp for record in records],
        [record.body for record in records],
    )


def _unless_empty(column: Sequence[str | None]) -> Sequence[str | None] | None:
    return None if column.count(None) == len(column) else column


def alike(records: Sequence[Record]) -> Columns | None:
    """Return what `publish_alike` takes, where `records` differ in ids and bodies alone."""
    first = records[0]
    kind, time = first.content_type, first.timestamp
    common = (first.topic, None, NO_HEADERS, kind, time, 0.0, 0.0, 0)
    for one in records:
        own = (one.topic, one.key, one.headers, one.content_type, one.timestamp)
        if (*own, one.delay, one.expires, one.priority) != common:
            return None
    ids, bodies = [kept(one.id) for one in records], [one.body for one in records]
    return (first.topic, ids, kept(kind), time, bodies)


def can_be_kept(records: Sequence[Record]) -> bool:
    """Say whether UTF-8 can carry the texts of `records`, of all of them together."""
    texts = [f"{one.topic}{one.id}{one.key}{one.content_type}" for one in records]
    try:
        "".join(texts).encode()
        for record in records:
            if record.headers:
                column_of(record.headers)
    except UnicodeEncodeError:
        return False
    return True


def refusal_of(record: Record) -> LayerError | None:
    """Return why PostgreSQL cannot have `record`, or None."""
    if can_be_kept([record]):
        return None
    return LayerError(
        "an id, a key, a header or a content type has characters that UTF-8 cannot carry"
    )


def placing_of(records: Sequence[Record]) -> Columns:
    """Return as arrays the delays of `records`, their ends and priorities; None where all are 0."""
    if not any(one.delay or one.expires or one.priority for one in records):
        return (None, None, None)
    return (
        [one.delay for one in records],
        [one.expires for one in records],
        [one.priority for one in records],
    )


def leased_from(row: asyncpg.Record, topic: str, number: int) -> Leased:
    """Return the message in `row` of a look, leased under `number`."""
    seq = row["seq"]
    return Leased(
        record_from(row, topic),
        PostgresLease(row["grp"], seq, number),
        row["attempt"],
        str(seq),
        row["failures"],
        row["alone"] // 2,
        row["is_expired"] or False,
    )


def outlook_from(rows: Sequence[asyncpg.Record]) -> Outlook | None:
    """Return what the last of the `rows` of a look says, unless that is one more message."""
    last = rows[-1]
    return Outlook(last["seq"], last["due"], last["waits"]) if last["grp"] is None else None


def record_from(row: asyncpg.Record, topic: str) -> Record:
    """Return the record in `row`."""
    key = row["key"]
    return Record(
        topic,
        row["body"],
        as_it_was(row["id"]),
        None if key is None else as_it_was(key),
        headers_in(row["headers"]),
        as_it_was(row["content_type"]),
        row["published"],
    )
