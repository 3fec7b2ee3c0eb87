"""Records as Kafka's records, and back.

The body is the value and the key the key. Three headers come first: `acked-id`,
`acked-content-type` and `acked-timestamp` (seconds since the epoch); the user's follow, as UTF-8.
Their place tells them from a user's headers of the same names, as dead letters have them.

A record from elsewhere arrives too: its id is `topic/partition/offset`, its timestamp Kafka's.
Of headers of one name the last counts (see `_repeated`). Bytes that are no UTF-8 in headers and
keys become surrogate escapes, and leave as they came.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

from acked.layers.kafka._partition import DeliveryToken, Partition
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._repeated import as_mapping, as_pairs
from acked.types import NO_HEADERS, Leased, Record

__all__ = ("Fetched", "Headers", "headers_of", "key_of", "leased_first", "size_of", "value_of")

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_ID: Final = "acked-id"
_CONTENT_TYPE: Final = "acked-content-type"
_TIMESTAMP: Final = "acked-timestamp"
_TEXT: Final = "utf-8"
_NULLS: Final = {"application/json": b"null", "application/msgpack": b"\xc0"}
"""How None is written. With a key it is Kafka's null, the tombstone of a compacted topic: it
deletes the key there, and for other clients. A null of theirs is an empty body."""
_number: Final = msgspec.json.Decoder(float).decode
"""Text to number, the nearest one: an eighth of what `float()` takes."""
_FOREIGN: Final = "surrogateescape"


class Fetched(Protocol):
    """What aiokafka's `DefaultRecord` is to us: a record as it was parsed, see `_unpacking`."""

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


class LeasedHere(Leased, frozen=True, gc=False):
    """A record of ours; its position, `partition:offset`, is made when somebody asks for it."""

    failures: int | None = 0

    @property  # type: ignore[misc]
    def position(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The partition and the offset, for people to read."""
        token = cast("DeliveryToken", self.token)
        return f"{token.partition.place.partition}:{token.offset}"


def headers_of(record: Record) -> list[tuple[str, bytes]]:
    """Return the headers of the Kafka record that carries `record`."""
    headers = [
        (_ID, _bytes(record.id)),
        (_CONTENT_TYPE, _bytes(record.content_type)),
        (_TIMESTAMP, msgspec.json.encode(record.timestamp)),
    ]
    headers.extend((name, _bytes(value)) for name, value in as_pairs(record.headers))
    return headers


def key_of(record: Record) -> bytes | None:
    """Return the key of the Kafka record that carries `record`."""
    return None if record.key is None else _bytes(record.key)


def value_of(record: Record) -> bytes | None:
    """Return the value of the Kafka record that carries `record`: null for a body that is None."""
    is_null = record.key is not None and record.body == _NULLS.get(record.content_type)
    return None if is_null else record.body


def size_of(record: Record) -> int:
    """Return the bytes of the Kafka record that carries `record`, without what frames them."""
    headers = sum(len(_bytes(name)) + len(value) for name, value in headers_of(record))
    return len(record.body) + len(key_of(record) or b"") + headers


def leased_first(partition: Partition, records: list[Fetched]) -> list[Leased]:
    """Return `records` of `partition` as what is handed out on their first delivery.

    It runs for every record: what is as we write it takes no call of ours. And it empties
    `records`: each is freed while the processor still has it at hand.
    """
    place, topic = partition.place, partition.place.topic
    leased: list[Leased] = []
    # Neighbours have the same type mostly, and the same time where they were one request.
    known_kind, content_type, known_time, timestamp = b"", "", b"", 0.0
    records.reverse()
    while records:
        fetched = records.pop()
        offset, headers, key = fetched.offset, fetched.headers, fetched.key
        ours: Any = headers if len(headers) == 3 else headers[:3]
        try:
            (first, identity), (second, kind), (third, published) = ours
            if kind != known_kind:
                content_type = kind.decode()
                known_kind = kind
            if published != known_time:
                timestamp = _number(published)
                known_time = published
            is_ours = first == _ID and second == _CONTENT_TYPE and third == _TIMESTAMP
            record = is_ours and Record(
                topic,
                fetched.value or _body(fetched, content_type),
                identity.decode(),
                None if key is None else key.decode(),
                NO_HEADERS if ours is headers else _mapping(headers[3:]),
                content_type,
                timestamp,
            )
        except (ValueError, TypeError, AttributeError, msgspec.DecodeError):
            record = None
        record = record or _odd(place, fetched)
        leased.append(LeasedHere(record, DeliveryToken(partition, offset)))
    return leased


def _body(fetched: Fetched, content_type: str) -> bytes:
    """Return the body as it was published, also where the value is null."""
    value = fetched.value
    return _NULLS.get(content_type, b"") if value is None else value


def _odd(place: TopicPartition, fetched: Fetched) -> Record:
    """Return what another client wrote, or of ours what is no UTF-8 or has no timestamp."""
    topic, headers, key = place.topic, fetched.headers, fetched.key
    text = None if key is None else _string(key)
    timestamp = fetched.timestamp / 1000
    if [name for name, _ in headers[:3]] != [_ID, _CONTENT_TYPE, _TIMESTAMP]:
        identity = f"{topic}/{place.partition}/{fetched.offset}"
        value = fetched.value or b""
        return Record(topic, value, identity, text, _mapping(headers), timestamp=timestamp)
    (_, name), (_, kind), (_, published), *others = headers
    with suppress(ValueError, msgspec.DecodeError):  # a ValueError from msgspec 0.21 on
        timestamp = _number(published or b"")
    return Record(
        topic,
        _body(fetched, _string(kind or b"")),
        _string(name or b""),
        text,
        _mapping(others),
        _string(kind or b""),
        timestamp,
    )


def _mapping(headers: Headers) -> Mapping[str, str]:
    return as_mapping([(name, _string(value or b"")) for name, value in headers])


def _bytes(text: str) -> bytes:
    return text.encode(_TEXT, _FOREIGN)


def _string(text: bytes) -> str:
    return text.decode(_TEXT, _FOREIGN)
