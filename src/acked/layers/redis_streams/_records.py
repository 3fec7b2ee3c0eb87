"""Records as fields of stream entries, and entries as leased records.

An entry is readable with any client: `body`, `id`, `content_type`, `timestamp` (seconds since the
epoch), `key` if there is one, and one field `h:name` for each header. Redis stores the names of
the first four once for a whole node of entries that have no others. Where there is a delay,
`acked-delay` comes before them.

An entry from elsewhere arrives too: what is missing is made up from the entry's id, and fields of
other names become headers of these names.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import structs

from acked.errors import LayerError
from acked.layers.redis_streams._scripts import ALONE, DELAY, FAILURE
from acked.types import NO_HEADERS, Leased, Record, Token

__all__ = (
    "Fields",
    "Lease",
    "TokenOf",
    "as_ours",
    "backlog_of",
    "fields_of",
    "groups_of",
    "lease_of",
    "leased_again",
    "leased_first",
    "letter_of",
    "noted_alone",
    "owned_by",
    "record_of",
    "settled_of",
    "told_of",
)

Lease: TypeAlias = bytes
"""`id/count`, or `id` for the first delivery, as the scripts take it."""
TokenOf: TypeAlias = tuple[str, Lease]
"""What tokens of this layer are: a topic and a lease."""
Fields: TypeAlias = Sequence[bytes]
"""Names and values, in turns."""

_NAMES: Final = [b"body", b"id", b"content_type", b"timestamp"]
_OURS: Final = frozenset({*_NAMES, b"key", DELAY})
_LONGEST_DELAY: Final = 10**15 - 1
"""Milliseconds: more is for ever, and has more digits than scripts look at."""
_HEADER: Final = b"h:"
_number: Final = msgspec.json.Decoder(float).decode
"""Text to number, the nearest one: an eighth of what `float()` takes; what it refuses is odd."""
# Bytes that are no UTF-8 come from elsewhere; this way they leave as they came.
_FOREIGN: Final = "surrogateescape"


def fields_of(record: Record) -> list[bytes]:
    """Return the fields of the entry that carries `record`."""
    fields = [
        *(b"body", record.body, b"id", _bytes(record.id)),
        *(b"content_type", _bytes(record.content_type)),
        *(b"timestamp", repr(record.timestamp).encode()),
    ]
    if record.key is not None:
        fields += (b"key", _bytes(record.key))
    for name, value in record.headers.items():
        fields += (_HEADER + _bytes(name), _bytes(value))
    if record.delay:
        # The server's clock is read in whole milliseconds: one more keeps the promise.
        delay = math.ceil(min(record.delay * 1000, _LONGEST_DELAY - 1)) + 1
        return [DELAY, b"%d" % delay, *fields]
    return fields


def letter_of(record: Record) -> list[bytes]:
    """Return the fields of the entry that carries the dead letter `record`, whatever its text.

    What cannot be written, half a surrogate pair, is written as an escape: a letter is never lost
    for its wording.
    """
    try:
        return fields_of(record)
    except UnicodeEncodeError:
        return fields_of(
            structs.replace(
                record,
                headers={_fit(name): _fit(value) for name, value in record.headers.items()},
                key=None if record.key is None else _fit(record.key),
            )
        )


def leased_first(
    topic: str,
    entries: Sequence[tuple[bytes, Fields]],
    delayed: list[TokenOf] | None = None,
) -> list[Leased]:
    """Return what `entries`, as XREADGROUP replied, are on their first delivery.

    What has a delay is put into `delayed` instead, if that is given: it may not be due.
    """
    found: list[Leased] = []
    add, names, kind_of = found.append, _NAMES, _text
    # Neighbours have the same time where they were one request.
    known_time, at = None, 0.0
    # The hot path of a consumer: each line here is paid for by every message.
    for entry_id, fields in entries:
        position = entry_id.decode()
        record = None
        if len(fields) == 8 and fields[::2] == names:
            _, body, _, record_id, _, kind, _, timestamp = fields
            try:
                if timestamp != known_time:
                    at = _number(timestamp)
                    known_time = timestamp
                if record_id:
                    record = Record(
                        topic, body, record_id.decode(), None, NO_HEADERS, kind_of(kind), at
                    )
            except (ValueError, msgspec.DecodeError):
                record = None
        if record is None:
            if delayed is not None and fields[:1] == [DELAY]:
                delayed.append((topic, entry_id))
                continue
            record = record_of(topic, position, fields)
        add(Leased(record, (topic, entry_id), 1, position))
    return found


def leased_again(topic: str, entry_id: bytes, count: int, fields: Fields) -> Leased:
    """Return what one entry is with this delivery count, as a script replied."""
    position = entry_id.decode()
    token = (topic, lease_of(entry_id, count))
    alone, counted = divmod(count, ALONE)
    failures, attempt = divmod(counted, FAILURE)
    record = record_of(topic, position, fields)
    return Leased(record, token, attempt, position, failures, alone // 2)


def lease_of(entry_id: bytes, count: int) -> Lease:
    """Return the lease of an entry that was delivered with this count."""
    return entry_id if count == 1 else b"%b/%d" % (entry_id, count)


class GroupTold(NamedTuple):
    """What the server tells of a group; None and nothing where it does not."""

    lag: int | None = None
    last_id: bytes = b""


def told_of(group: bytes, reply: object) -> GroupTold:
    """Return how much `group` has not read, and how far it is, as XINFO GROUPS replied.

    Redis 6.2 never tells the lag, later ones do not after entries were deleted from the middle.
    """
    for told in groups_of(reply):
        if told.get(b"name") == group:
            lag = cast("int | None", told.get(b"lag"))
            return GroupTold(lag, cast("bytes", told.get(b"last-delivered-id", b"")))
    return GroupTold()


def owned_by(consumer: bytes, reply: object) -> int:
    """Return how much of a group `consumer` owns, as XPENDING replied; 0 where it was refused."""
    if isinstance(reply, list):
        for name, count in cast("list[tuple[bytes, bytes]]", reply[3] or ()):
            if name == consumer:
                return int(count)
    return 0


def backlog_of(reply: object) -> int | None:
    """Return how much the slowest group owes, read or not, as `told_of` does."""
    if isinstance(reply, LayerError):
        return None  # refused, or the stream is gone
    most = 0
    for told in groups_of(reply):
        unread, pending = told.get(b"lag"), told.get(b"pending")
        if not isinstance(unread, int) or not isinstance(pending, int):
            return None
        most = max(most, unread + pending)
    return most


def settled_of(length: object, reply: object) -> int | None:
    """Return how many of a stream's `length` entries every group has settled, about."""
    owed = backlog_of(reply)
    if isinstance(length, LayerError) or owed is None:
        return None
    has_groups = any(True for _ in groups_of(reply))
    return max(0, cast("int", length) - owed) if has_groups else 0


def groups_of(reply: object) -> Iterator[Mapping[bytes, object]]:
    """Return what XINFO GROUPS tells of each group; nothing where that was refused."""
    if isinstance(reply, list):
        for words in cast("list[list[bytes]]", reply):
            yield dict(zip(words[::2], words[1::2], strict=False))


def as_ours(tokens: list[Token]) -> list[TokenOf]:
    """Return `tokens`, all given by this layer, as what they are."""
    return cast("list[TokenOf]", tokens)


def noted_alone(token: TokenOf, *, alone: bool) -> TokenOf:
    """Return what `token` is called once it was noted as handled alone, or as not."""
    topic, lease = token
    entry_id, _, word = lease.partition(b"/")
    count = int(word or 1)
    without_note = count - count // ALONE % 2 * ALONE
    return topic, lease_of(entry_id, without_note + ALONE * alone)


def record_of(topic: str, position: str, fields: Fields) -> Record:
    """Return the record of an entry with any fields at all, or none."""
    pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    key = pairs.get(b"key")
    headers = {_name(name): _string(value) for name, value in pairs.items() if name not in _OURS}
    return Record(
        topic,
        pairs.get(b"body", b""),
        _string(pairs.get(b"id", b"")) or position,
        None if key is None else _string(key),
        headers or NO_HEADERS,
        _string(pairs.get(b"content_type", b"")) or "application/octet-stream",
        _timestamp(pairs.get(b"timestamp", b""), position),
    )


def _timestamp(text: bytes, position: str) -> float:
    """Return the time in `text`, or else the one in the entry's id (milliseconds first)."""
    try:
        timestamp = float(text)
    except ValueError:
        timestamp = math.nan
    return timestamp if math.isfinite(timestamp) else int(position.partition("-")[0]) / 1000


def _fit(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _name(field: bytes) -> str:
    return _string(field.removeprefix(_HEADER))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", _FOREIGN)


def _string(text: bytes) -> str:
    return text.decode("utf-8", _FOREIGN)


@lru_cache(256)
def _text(text: bytes) -> str:
    return text.decode()
