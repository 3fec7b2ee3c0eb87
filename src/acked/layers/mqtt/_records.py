"""Records as MQTT 5 publications and back: topic, payload, content type and user properties.

A record's own words are the user properties `acked:id`, `acked:timestamp` (seconds since the
epoch) and `acked:key`; each header is a user property of its own name. MQTT carries no control
characters in a string, and brokers cut the connection over one: a name or value with such, or one
that could be taken for ours, travels percent-encoded under a name that begins with `u:`.

A publication from elsewhere arrives too: its user properties become headers, and what is missing
is made up.

What is sent is packed here: paho's `Properties` checks each attribute against tables that it
builds anew for each object, which costs more than all the rest of sending a message.
"""

import math
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from paho.mqtt.client import MQTTMessage
from paho.mqtt.properties import Properties

from acked.errors import LayerError
from acked.types import Record

__all__ = ("PackedProperties", "new_properties", "properties_of", "record_of")

Pair: TypeAlias = tuple[str, str]

LONGEST_STRING: Final = 65_535
"""Bytes of UTF-8 in one string of MQTT."""
PROPERTIES_LIMIT: Final = 1024 * 1024 - LONGEST_STRING
"""Bytes of all user properties together, so that they and the largest body fit in a packet."""

_OURS: Final = "acked:"
_ESCAPED: Final = "u:"
_ID, _KEY, _TIMESTAMP = "acked:id", "acked:key", "acked:timestamp"
_CONTENT_TYPE: Final = "acked:content-type"
_NAMES_OF_AN_ID: Final = frozenset({_ID, _ESCAPED + quote(_ID, safe="")})
_CONTENT_TYPE_FOLLOWS: Final = b"\x03"
_USER_PROPERTY_FOLLOWS: Final = b"\x26"

new_properties: Final[Callable[[int], Properties]] = Properties
"""Make the properties of one kind of packet; paho leaves their constructor untyped."""

_UNKNOWN_TYPE: Final = "application/octet-stream"
# What brokers refuse in a string: controls, surrogates, and code points that are no characters;
# of the highest planes, which have some at their ends, nothing goes as it is. U+FEFF is refused by
# paho, which then ends the connection of whoever receives it.
_ILLEGAL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff\U0001fffe-\U0010ffff]"
)


class PackedProperties(Properties):
    """Properties of a publication, as the bytes that are sent."""

    def __init__(self, content_type: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        parts = [_CONTENT_TYPE_FOLLOWS, _length(content_type), content_type]
        for name, value in pairs:
            parts += (_USER_PROPERTY_FOLLOWS, _length(name), name, _length(value), value)
        packed = b"".join(parts)
        object.__setattr__(self, "_packed", _variable_length(len(packed)) + packed)

    def pack(self) -> bytes:
        """Return the bytes, with how many they are in front."""
        packed: bytes = self.__dict__["_packed"]
        return packed

    def __str__(self) -> str:
        return f"[{len(self.pack())} bytes]"


def properties_of(record: Record) -> PackedProperties:
    """Return the properties of the publication that carries `record`.

    Raises `LayerError` where a string, or all of them, are longer than MQTT can carry.
    """
    pairs: list[Pair] = [_pair(_ID, record.id), (_TIMESTAMP, repr(record.timestamp))]
    if record.key is not None:
        pairs.append(_pair(_KEY, record.key))
    content_type = record.content_type
    if _ILLEGAL.search(content_type):
        pairs.append(_pair(_CONTENT_TYPE, content_type))
        content_type = _UNKNOWN_TYPE
    pairs += [_header(name, value) for name, value in record.headers.items()]
    encoded = [(name.encode(), value.encode()) for name, value in pairs]
    first = content_type.encode()
    _check_lengths(record, [len(first), *(len(text) for pair in encoded for text in pair)])
    return PackedProperties(first, encoded)


def record_of(message: MQTTMessage) -> tuple[Record, bool]:
    """Return the record that `message` carries, and whether its publisher gave it its id."""
    pairs: list[Pair] = getattr(message.properties, "UserProperty", [])
    is_known = any(name in _NAMES_OF_AN_ID for name, _ in pairs)
    ours, headers = _sorted_out(pairs) if is_known else ({}, dict(pairs))
    content_type: str = getattr(message.properties, "ContentType", _UNKNOWN_TYPE)
    record = Record(
        message.topic,
        bytes(message.payload),
        ours.get(_ID) or uuid.uuid4().hex,
        ours.get(_KEY),
        headers,
        ours.get(_CONTENT_TYPE, content_type),
        _timestamp(ours.get(_TIMESTAMP)),
    )
    return record, is_known


def _sorted_out(pairs: Iterable[Pair]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what is the record's own and what are headers, decoded."""
    ours: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(_OURS):
            ours[name] = value
        elif name.startswith(_ESCAPED):
            plain = _decoded(name[len(_ESCAPED) :])
            # A header that is called like one of ours is escaped twice.
            if plain.startswith(_OURS):
                ours[plain] = _decoded(value)
            else:
                headers[plain.removeprefix("\x00")] = _decoded(value)
        else:
            headers[name] = value
    return ours, headers


def _pair(name: str, value: str) -> Pair:
    if _ILLEGAL.search(value):
        return _ESCAPED + _encoded(name), _encoded(value)
    return name, value


def _header(name: str, value: str) -> Pair:
    if name.startswith((_OURS, _ESCAPED, "\x00")):
        # The NUL in front tells a header from what is ours; it travels encoded.
        return _ESCAPED + _encoded("\x00" + name), _encoded(value)
    if _ILLEGAL.search(name) or _ILLEGAL.search(value):
        return _ESCAPED + _encoded(name), _encoded(value)
    return name, value


def _encoded(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:  # not of our making
        return unquote(text)


def _check_lengths(record: Record, lengths: list[int]) -> None:
    if max(lengths) > LONGEST_STRING:
        raise LayerError(
            f"record {record.id[:40]!r} has a string of {max(lengths)} bytes among its id, key, "
            f"content type and headers; MQTT carries up to {LONGEST_STRING}"
        )
    if sum(lengths) > PROPERTIES_LIMIT:
        raise LayerError(
            f"record {record.id[:40]!r} has {sum(lengths)} bytes of headers; {PROPERTIES_LIMIT} is "
            "the limit here"
        )


def _length(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big")


def _variable_length(number: int) -> bytes:
    """Return `number` as MQTT writes lengths: seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _timestamp(text: str | None) -> float:
    if text is None:
        return time.time()
    try:
        found = float(text)
    except ValueError:
        return time.time()
    return found if math.isfinite(found) else time.time()
