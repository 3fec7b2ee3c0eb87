"""Records as the tables have them, and back."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import asyncpg

from acked.errors import LayerError
from acked.layers._postgres.texts import as_it_was, kept
from acked.layers._shared.headers import column_of, headers_in
from acked.types import Leased, Record, Token

__all__ = (
    "Columns",
    "PostgresLease",
    "columns",
    "leased_from",
    "placing_of",
    "record_from",
    "refusal_of",
)

Columns: TypeAlias = tuple[Sequence[object] | None, ...]
"""Records, each column as an array: topics, ids, keys, headers, types, times, bodies."""


class PostgresLease(NamedTuple):
    """The token of a lease: whose row, and the number that proves that we hold it."""

    grp: int
    seq: int
    lease: int


def columns(records: Sequence[Record]) -> Columns:
    """Return `records` as the arrays that `publish` and `settle` take."""
    return (
        [record.topic for record in records],
        [kept(record.id) for record in records],
        [None if record.key is None else kept(record.key) for record in records],
        [column_of(record.headers) for record in records],
        [kept(record.content_type) for record in records],
        [record.timestamp for record in records],
        [record.body for record in records],
    )


def refusal_of(record: Record) -> LayerError | None:
    """Return why PostgreSQL cannot have `record`, or None."""
    try:
        f"{record.topic}{record.id}{record.key}{record.content_type}".encode()
        column_of(record.headers)
    except UnicodeEncodeError:
        return LayerError(
            "an id, a key, a header or a content type has characters that UTF-8 cannot carry"
        )
    return None


def placing_of(records: Sequence[Record]) -> Columns:
    """Return as arrays the delays of `records`, their ends and priorities; None where all are 0."""
    if not any(one.delay or one.expires or one.priority for one in records):
        return (None, None, None)
    return (
        [one.delay for one in records],
        [one.expires for one in records],
        [one.priority for one in records],
    )


def leased_from(row: asyncpg.Record, topic: str, lease: float) -> Leased:
    """Return the message in `row`, as `claim` returns it, leased for so many seconds."""
    record = record_from(row, topic)
    seq = row["seq"]
    token: Token = PostgresLease(row["grp"], seq, row["lease"])
    attempt, failures, alone = row["attempt"], row["failures"], row["alone"]
    expires: float | None = row["expires"]
    is_expired = expires is not None and expires <= row["due"] - lease  # as the server has it
    return Leased(record, token, attempt, str(seq), failures, alone // 2, is_expired)


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
