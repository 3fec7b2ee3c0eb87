"""What rows of a queue file are in Python."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from acked.errors import LayerError
from acked.layers._shared.headers import column_of
from acked.types import Record

__all__ = ("GroupRow", "Row", "RowLease", "row_of", "rows_of")

Row: TypeAlias = tuple[str, str, str | None, str | None, str, float, bytes, float, float, int]
"""A record as it is stored; the last are the moments before which nobody is handed it, and from
which on nobody is any more, or 0, and its priority."""


class RowLease(NamedTuple):
    """The token of a lease: which debt, and the number that proves that we hold it."""

    grp: int
    seq: int
    lease: int


class GroupRow(NamedTuple):
    """One group of one topic, of which something may be ready."""

    grp: int
    topic: str
    cursor: int
    in_order: bool
    """Whether its debts have their keys: a consumer asked for the order of these."""
    is_ranked: bool
    """Whether something was published with a priority that it has no debt of yet."""
    has_due: bool
    """Whether something that it was given is free again, or due by now."""
    passed_by: int
    """The number of the last message past the cursor that has a delay or a priority, or 0."""


def row_of(record: Record, now: float) -> Row:
    """Return `record` as it is stored `now`; raise `UnicodeEncodeError` for what is no UTF-8."""
    f"{record.topic}{record.id}{record.key}{record.content_type}".encode()
    return (
        record.topic,
        record.id,
        record.key,
        column_of(record.headers),
        record.content_type,
        record.timestamp,
        record.body,
        now + record.delay if record.delay else 0.0,
        now + record.expires if record.expires else 0.0,
        record.priority,
    )


def rows_of(records: Sequence[Record], now: float) -> tuple[list[Row], dict[int, Exception]]:
    """Return those of `records` that can be stored, and why not, for the others' positions."""
    rows, failures = list[Row](), dict[int, Exception]()
    for index, record in enumerate(records):
        try:
            rows.append(row_of(record, now))
        except UnicodeEncodeError:
            failures[index] = LayerError("it has characters that UTF-8 cannot carry")
    return rows, failures
