"""Records as MQTT 5 publications and back: topic, payload, content type and user properties.

A record's own words are the user properties `acked:id`, `acked:timestamp` (seconds since the
epoch) and `acked:key`; each header is a user property of its own name. MQTT carries no control
characters in a string, and brokers cut the connection over one: a name or value with such, or one
that could be taken for ours, travels percent-encoded under a name that begins with `u:`.

A publication from elsewhere arrives too: its user properties become headers, and what is missing
is made up. What MQTT has beside them is a header here, and the same again when a record with it is
published, so that a dead letter can still be answered: `mqtt-response-topic`, and
`mqtt-correlation-data` in base64. `mqtt-retain` says that a message had been kept for newcomers,
`mqtt-cut` that it had more user properties than are read.
"""

import binascii
import math
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from msgspec.structs import replace

from acked.errors import LayerError
from acked.layers.mqtt._packets import (
    MOST_PAIRS,
    Arrival,
    Properties,
    pack_properties,
    read_properties,
)
from acked.types import Record

__all__ = (
    "CORRELATION_DATA",
    "CUT",
    "RESPONSE_TOPIC",
    "RETAIN",
    "fitted_letter",
    "properties_of",
    "record_of",
)

Pair: TypeAlias = tuple[str, str]

LONGEST_STRING: Final = 65_535
"""Bytes of UTF-8 in one string of MQTT."""
PROPERTIES_LIMIT: Final = 1024 * 1024 - LONGEST_STRING
"""Bytes of all user properties together, so that they and the largest body fit in a packet."""

LONGEST_REASON: Final = 200
"""Characters of the reason in a dead letter that has to be cut."""
FIXED_PARTS: Final = 9
"""Bytes of a PUBLISH beside its topic, properties and payload, at most."""

MOST_HEADERS: Final = MOST_PAIRS - 4
"""Beside a record's own words."""

_OURS: Final = "acked:"
_ESCAPED: Final = "u:"
_ID, _KEY, _TIMESTAMP = "acked:id", "acked:key", "acked:timestamp"
_CONTENT_TYPE: Final = "acked:content-type"
_NAMES_OF_AN_ID: Final = frozenset({_ID, _ESCAPED + quote(_ID, safe="")})
RESPONSE_TOPIC: Final = "mqtt-response-topic"
CORRELATION_DATA: Final = "mqtt-correlation-data"
RETAIN: Final = "mqtt-retain"
CUT: Final = "mqtt-cut"
_PROPERTY_HEADERS: Final = frozenset({RESPONSE_TOPIC, CORRELATION_DATA})

_UNKNOWN_TYPE: Final = "application/octet-stream"
# What brokers refuse in a string: controls, surrogates, and code points that are no characters;
# of the highest planes, which have some at their ends, nothing goes as it is. U+FEFF is legal, but
# clients on paho lose their connection over it.
_ILLEGAL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff\U0001fffe-\U0010ffff]"
)
_UNFIT_FOR_A_TOPIC: Final = re.compile(_ILLEGAL.pattern + "|[+#]")


def properties_of(record: Record) -> bytes:
    """Return the packed properties of the publication that carries `record`.

    Raises `LayerError` where a string, or all of them, are longer than MQTT can carry.
    """
    pairs: list[Pair] = [_pair(_ID, record.id), (_TIMESTAMP, repr(record.timestamp))]
    if record.key is not None:
        pairs.append(_pair(_KEY, record.key))
    content_type = record.content_type
    if _ILLEGAL.search(content_type):
        pairs.append(_pair(_CONTENT_TYPE, content_type))
        content_type = _UNKNOWN_TYPE
    headers = record.headers
    response_topic = correlation_data = None
    if not _PROPERTY_HEADERS.isdisjoint(headers):
        headers = dict(headers)
        response_topic, correlation_data = _taken_out(headers)
    pairs += [_header(name, value) for name, value in headers.items()]
    encoded = [(name.encode(), value.encode()) for name, value in pairs]
    first = content_type.encode()
    others = [first, response_topic or b"", correlation_data or b""]
    _check_lengths(
        record, [len(text) for text in (*others, *(t for pair in encoded for t in pair))]
    )
    return pack_properties(encoded, first, response_topic, correlation_data)


def record_of(arrival: Arrival) -> tuple[Record, bool]:
    """Return the record that `arrival` carries, and whether its publisher gave it its id."""
    found = read_properties(arrival.properties)
    is_known = any(name in _NAMES_OF_AN_ID for name, _ in found.pairs)
    ours, headers = _sorted_out(found.pairs) if is_known else ({}, dict(found.pairs))
    if arrival.is_retained:
        headers[RETAIN] = "true"
    if found.is_cut:
        headers[CUT] = "true"
    if found.response_topic is not None or found.correlation_data is not None:
        headers |= _property_headers(found)
    record = Record(
        arrival.topic,
        arrival.payload,
        ours.get(_ID) or uuid.uuid4().hex,
        ours.get(_KEY),
        headers,
        ours.get(
            _CONTENT_TYPE, _UNKNOWN_TYPE if found.content_type is None else found.content_type
        ),
        _timestamp(ours.get(_TIMESTAMP)),
    )
    return record, is_known


def fitted_letter(letter: Record, largest: int | None) -> Record:
    """Return the dead letter `letter`, cut to what a packet of `largest` bytes has room for.

    It is larger than its original, which may have been as large as a packet can be. The body stays.
    """
    return next((one for one in _shorter(letter) if _fits(one, largest)), letter)


def _shorter(letter: Record) -> Iterator[Record]:
    yield letter
    reason = letter.headers.get("acked-reason", "")[:LONGEST_REASON]
    yield replace(letter, headers={**letter.headers, "acked-reason": reason})
    own = {name: text for name, text in letter.headers.items() if not name.startswith("acked-")}
    where = {"acked-reason": reason, "acked-topic": letter.headers.get("acked-topic", "")}
    yield replace(letter, headers=own | where)
    yield replace(letter, headers=own)
    yield replace(letter, headers=where)
    yield replace(letter, headers={})


def _fits(record: Record, largest: int | None) -> bool:
    try:
        size = len(record.topic.encode()) + len(properties_of(record)) + len(record.body)
    except LayerError:
        return False
    return largest is None or size + FIXED_PARTS <= largest


def _property_headers(found: Properties) -> dict[str, str]:
    headers: dict[str, str] = {}
    if found.response_topic is not None:
        headers[RESPONSE_TOPIC] = found.response_topic
    if found.correlation_data is not None:
        headers[CORRELATION_DATA] = _base64(found.correlation_data)
    return headers


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode()


def _taken_out(headers: dict[str, str]) -> tuple[bytes | None, bytes | None]:
    """Take the response topic and correlation data out of `headers`, where they can be such.

    What cannot stays a header: a dead letter must not fail over what somebody else wrote.
    """
    topic, data = headers.get(RESPONSE_TOPIC, ""), headers.get(CORRELATION_DATA)
    is_topic = topic and not _UNFIT_FOR_A_TOPIC.search(topic)
    if is_topic:
        del headers[RESPONSE_TOPIC]
    found: bytes | None = None
    if data is not None:
        with suppress(ValueError):  # of Unicode, or of base64
            found = binascii.a2b_base64(data.encode(), strict_mode=True)
        if found is None or _base64(found) != data:
            found = None  # what has another spelling would not arrive equal
        else:
            del headers[CORRELATION_DATA]
    return topic.encode() if is_topic else None, found


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
    if len(record.headers) > MOST_HEADERS:
        raise LayerError(
            f"record {record.id[:40]!r} has {len(record.headers)} headers; {MOST_HEADERS} is the "
            "limit here"
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
