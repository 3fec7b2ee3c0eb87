"""What rows of a queue file are in Python."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from acked.errors import LayerError
from acked.layers._shared.headers import column_of
from acked.types import Record

__all__ = ("GroupRow", "Row", "RowLease", "row_of", "rows_of")

Row: TypeAlias = tuple[str, str, str | None, str | None, str, float, bytes]
"""A record as it is stored."""


class RowLease(NamedTuple):
    """The token of a lease: which debt, and the number that proves that we hold it."""

    grp: int
    seq: int
    lease: int


class GroupRow(NamedTuple):
    """One group of one topic."""

    grp: int
    topic: str
    cursor: int
    lag: int
    """What was published to the topic and not yet given to the group."""
    in_order: bool = False
    """Whether its debts have their keys: a consumer asked for the order of these."""


def row_of(record: Record) -> Row:
    """Return `record` as it is stored; raise `UnicodeEncodeError` for what UTF-8 cannot carry."""
    f"{record.topic}{record.id}{record.key}{record.content_type}".encode()
    return (
        record.topic,
        record.id,
        record.key,
        column_of(record.headers),
        record.content_type,
        record.timestamp,
        record.body,
    )


def rows_of(records: Sequence[Record]) -> tuple[list[Row], dict[int, Exception]]:
    """Return those of `records` that can be stored, and why not, for the others' positions."""
    rows, failures = list[Row](), dict[int, Exception]()
    for index, record in enumerate(records):
        try:
            rows.append(row_of(record))
        except UnicodeEncodeError:
            failures[index] = LayerError("it has characters that UTF-8 cannot carry")
    return rows, failures
