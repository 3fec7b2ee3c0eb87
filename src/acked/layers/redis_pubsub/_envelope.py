"""How a record becomes the payload of one PUBLISH, and how a payload becomes a record.

Rules:

1. A record without key and headers travels as its body alone: any subscriber understands it.
2. A record with a key or headers travels in an envelope: the eight bytes of `MAGIC`, four bytes
   with the length n of what follows (big-endian), n bytes of a JSON object with `id`, `timestamp`,
   `content_type` and, where there are any, `key` and `headers`, and then the body.
3. A body that begins with `MAGIC` travels in an envelope too: else rule 2 would take it apart.
4. A payload that begins with `MAGIC` and is no envelope all the same is a body.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from acked.types import NO_HEADERS, Record

__all__ = ("MAGIC", "packed", "unpacked")

MAGIC: Final = b"\x00acked\x001"
"""What an envelope begins with: not the start of JSON, msgpack, UTF-8 text or a usual image."""

UNKNOWN_CONTENT: Final = "application/octet-stream"
LENGTH_BYTES: Final = 4
HEAD_AT: Final = len(MAGIC) + LENGTH_BYTES


class _PubSubHeader(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What an envelope says of the body behind it."""

    id: str
    timestamp: float
    content_type: str
    key: str | None = None
    headers: Mapping[str, str] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_PubSubHeader).decode


def packed(record: Record) -> bytes:
    """Return the payload that carries `record`."""
    if record.key is None and not record.headers and not record.body.startswith(MAGIC):
        return record.body
    head = _encode(
        _PubSubHeader(
            record.id, record.timestamp, record.content_type, record.key, dict(record.headers)
        )
    )
    return b"".join((MAGIC, len(head).to_bytes(LENGTH_BYTES, "big"), head, record.body))


def unpacked(topic: str, payload: bytes, new_id: Callable[[], str]) -> Record:
    """Return the record that `payload` carries; `new_id` names one that has no id."""
    if payload.startswith(MAGIC):
        record = _opened(topic, payload, new_id)
        if record is not None:
            return record
    return Record(topic, payload, new_id(), None, NO_HEADERS, UNKNOWN_CONTENT, time.time())


def _opened(topic: str, payload: bytes, new_id: Callable[[], str]) -> Record | None:
    """Return what is in an envelope, or None if it is none."""
    body_at = HEAD_AT + int.from_bytes(payload[len(MAGIC) : HEAD_AT], "big")
    if body_at > len(payload):
        return None
    try:
        head = _decode(memoryview(payload)[HEAD_AT:body_at])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Record(
        topic,
        payload[body_at:],
        head.id or new_id(),
        head.key,
        head.headers or NO_HEADERS,
        head.content_type,
        head.timestamp,
    )
