"""Records as Kafka's records, and back.

The body is the value and the key the key. Three headers come first: `acked-id`,
`acked-content-type` and `acked-timestamp` (seconds since the epoch); the user's follow, as UTF-8.
Their place tells them from a user's headers of the same names, as dead letters have them.

A record from elsewhere arrives too: its id is `topic/partition/offset`, its timestamp Kafka's.
Bytes that are no UTF-8 in headers and keys become surrogate escapes, and leave as they came.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from acked.layers._kafka_partition import Partition
from acked.types import NO_HEADERS, Leased, Record

__all__ = ("Fetched", "Headers", "headers_of", "key_of", "leased_first")

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_ID: Final = "acked-id"
_CONTENT_TYPE: Final = "acked-content-type"
_TIMESTAMP: Final = "acked-timestamp"
_FOREIGN: Final = "surrogateescape"


class Fetched(Protocol):
    """What aiokafka's `ConsumerRecord` is to us."""

    @property
    def topic(self) -> str:
        """Return aiokafka's `topic`."""
        ...

    @property
    def partition(self) -> int:
        """Return aiokafka's `partition`."""
        ...

    @property
    def offset(self) -> int:
        """Return aiokafka's `offset`."""
        ...

    @property
    def timestamp(self) -> int:
        """Return aiokafka's `timestamp`."""
        ...

    @property
    def key(self) -> bytes | None:
        """Return aiokafka's `key`."""
        ...

    @property
    def value(self) -> bytes | None:
        """Return aiokafka's `value`."""
        ...

    @property
    def headers(self) -> Headers:
        """Return aiokafka's `headers`."""
        ...


def headers_of(record: Record) -> list[tuple[str, bytes]]:
    """Return the headers of the Kafka record that carries `record`."""
    headers = [
        (_ID, _bytes(record.id)),
        (_CONTENT_TYPE, _bytes(record.content_type)),
        (_TIMESTAMP, repr(record.timestamp).encode()),
    ]
    headers.extend((name, _bytes(value)) for name, value in record.headers.items())
    return headers


def key_of(record: Record) -> bytes | None:
    """Return the key of the Kafka record that carries `record`."""
    return None if record.key is None else _bytes(record.key)


def leased_first(partition: Partition, fetched: Fetched) -> Leased:
    """Return `fetched` as what is handed out on its first delivery."""
    offset = fetched.offset
    position = f"{fetched.partition}:{offset}"
    return Leased(_record(fetched), (partition, offset, 1), 1, position)


def _record(fetched: Fetched) -> Record:
    headers = fetched.headers
    key = fetched.key
    text = None if key is None else _string(key)
    if _is_ours(headers):
        (_, identity), (_, kind), (_, published), *others = headers
        return Record(
            fetched.topic,
            fetched.value or b"",
            _string(identity or b""),
            text,
            _mapping(others),
            _kind(kind or b""),
            _timestamp(published or b"", fetched.timestamp),
        )
    return Record(
        fetched.topic,
        fetched.value or b"",
        f"{fetched.topic}/{fetched.partition}/{fetched.offset}",
        text,
        _mapping(headers),
        timestamp=fetched.timestamp / 1000,
    )


def _is_ours(headers: Headers) -> bool:
    return (
        len(headers) >= 3
        and headers[0][0] == _ID
        and headers[1][0] == _CONTENT_TYPE
        and headers[2][0] == _TIMESTAMP
    )


def _mapping(headers: Headers) -> Mapping[str, str]:
    if not headers:
        return NO_HEADERS
    return {name: _string(value or b"") for name, value in headers}


def _timestamp(text: bytes, milliseconds: int) -> float:
    try:
        timestamp = float(text)
    except ValueError:
        timestamp = math.nan
    return timestamp if math.isfinite(timestamp) else milliseconds / 1000


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", _FOREIGN)


def _string(text: bytes) -> str:
    return text.decode("utf-8", _FOREIGN)


@lru_cache(256)
def _kind(text: bytes) -> str:
    return _string(text)
