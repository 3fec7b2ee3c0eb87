"""How much memory records take, about: what bounds in bytes are counted by.

By their parts, since a publisher chooses which of them is large: a header of four bytes takes two
hundred as objects.
"""

from collections.abc import Iterable
from typing import Final

from acked.types import NO_HEADERS, Record

__all__ = ("size_of", "sizes_of")

HEADER_BYTES: Final = 200
"""What a header takes as an object, beside its characters."""


def size_of(record: Record) -> int:
    """Return the bytes that `record` takes, beside its topic."""
    texts = (*record.headers, *record.headers.values(), record.key or "")
    beside = sum(map(len, texts)) + HEADER_BYTES * len(record.headers)
    return len(record.body) + len(record.id) + len(record.content_type) + beside


def sizes_of(records: Iterable[Record]) -> list[int]:
    """Return the size of each of `records`. It runs for every message: most take no call.

    An id and a content type within their bounds are not worth one.
    """
    return [
        len(r.body) if r.headers is NO_HEADERS and r.key is None else size_of(r) for r in records
    ]
