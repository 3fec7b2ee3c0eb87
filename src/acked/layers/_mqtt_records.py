"""Records as MQTT 5 publications and back: topic, payload, content type and user properties.

A record's own words are the user properties `acked:id`, `acked:timestamp` (seconds since the
epoch) and `acked:key`; each header is a user property of its own name. MQTT carries no control
characters in a string, and brokers cut the connection over one: a name or value with such, or one
that could be taken for ours, travels percent-encoded under a name that begins with `u:`.

A publication from elsewhere arrives too: its user properties become headers, and what is missing
is made up.
"""

import math
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked.errors import LayerError
from acked.types import Record

__all__ = ("own_id", "properties_of", "record_of")

Pair: TypeAlias = tuple[str, str]

LONGEST_STRING: Final = 65_535
"""Bytes of UTF-8 in one string of MQTT."""
PROPERTIES_LIMIT: Final = 1024 * 1024 - LONGEST_STRING
"""Bytes of all user properties together, so that they and the largest body fit in a packet."""

_OURS: Final = "acked:"
_ESCAPED: Final = "u:"
_ID, _KEY, _TIMESTAMP = "acked:id", "acked:key", "acked:timestamp"
_CONTENT_TYPE: Final = "acked:content-type"
new_properties: Final[Callable[[int], Properties]] = Properties
"""Make the properties of one kind of packet; paho leaves their constructor untyped."""

_UNKNOWN_TYPE: Final = "application/octet-stream"
# What brokers refuse in a string: controls, surrogates, and code points that are no characters;
# of the highest planes, which have some at their ends, nothing goes as it is.
_ILLEGAL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U0001fffe-\U0010ffff]"
)


def properties_of(record: Record) -> Properties:
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
    _check_lengths(record, [content_type, *(text for pair in pairs for text in pair)])
    found: Any = new_properties(PacketTypes.PUBLISH)  # its attributes are made at run time
    found.ContentType = content_type
    found.UserProperty = pairs
    result: Properties = found
    return result


def own_id(message: MQTTMessage) -> str | None:
    """Return the id its publisher gave a message, or None for one from elsewhere."""
    for name, value in _pairs(message):
        if name == _ID:
            return value
        if name == _ESCAPED + quote(_ID, safe=""):
            return _decoded(value)
    return None


def record_of(message: MQTTMessage) -> Record:
    """Return the record that `message` carries, whoever published it."""
    pairs = _pairs(message)
    ours, headers = _sorted_out(pairs) if own_id(message) is not None else ({}, dict(pairs))
    content_type: str = getattr(message.properties, "ContentType", _UNKNOWN_TYPE)
    return Record(
        message.topic,
        bytes(message.payload),
        ours.get(_ID) or uuid.uuid4().hex,
        ours.get(_KEY),
        headers,
        ours.get(_CONTENT_TYPE, content_type),
        _timestamp(ours.get(_TIMESTAMP)),
    )


def _pairs(message: MQTTMessage) -> list[Pair]:
    found: list[Pair] = getattr(message.properties, "UserProperty", [])
    return found


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


def _check_lengths(record: Record, texts: list[str]) -> None:
    lengths = [len(text.encode()) for text in texts]
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


def _timestamp(text: str | None) -> float:
    if text is None:
        return time.time()
    try:
        found = float(text)
    except ValueError:
        return time.time()
    return found if math.isfinite(found) else time.time()
