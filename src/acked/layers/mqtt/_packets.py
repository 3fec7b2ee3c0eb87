"""The packets of MQTT 5 that there are many of, taken apart and put together; no I/O.

Only what a message costs is here: PUBLISH and PUBACK. All others are paho-mqtt's.

Rules:

1. Whatever a broker passes on can be read: a string that is no UTF-8 is read with U+FFFD in it, and
   properties that break off, or that MQTT does not know, end the list of those before them, and so
   do more than `MOST_PAIRS`. A message is never lost over its properties.
2. A packet without a whole topic, or without its number, is none: `ValueError`.
"""

from typing import Final, NamedTuple

__all__ = (
    "Arrival",
    "Properties",
    "header_of",
    "pack_properties",
    "pack_pubacks",
    "pack_publish",
    "read_properties",
    "read_puback",
    "read_publish",
)

PUBLISH: Final = 0x30
PUBACK: Final = 0x40

MOST_PAIRS: Final = 1_000
"""User properties that are read of one message: a pair of five bytes takes forty times as many."""

_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION_DATA: Final = 0x09
_REASON_STRING: Final = 0x1F
_USER_PROPERTY: Final = 0x26
_STRINGS: Final = frozenset({_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION_DATA, _REASON_STRING})
_SIZES: Final = {0x01: 1, 0x02: 4, 0x23: 2}
"""Of the other properties of a PUBLISH: payload format, expiry, topic alias."""
_SUBSCRIPTION_IDENTIFIER: Final = 0x0B
_LONGEST_LENGTH: Final = 4


class Arrival(NamedTuple):
    """One PUBLISH, as it came."""

    topic: str
    mid: int
    qos: int
    is_dup: bool
    is_retained: bool
    properties: bytes
    payload: bytes


class Properties(NamedTuple):
    """What the properties of a PUBLISH say, or of a PUBACK."""

    pairs: list[tuple[str, str]]
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    reason: str = ""
    is_cut: bool = False
    """Whether there were more pairs."""


def header_of(packet: bytes, at: int) -> tuple[int, int] | None:
    """Return where the content of the packet at `at` begins and ends; None before all is there.

    Raises `ValueError` for a length that MQTT does not have.
    """
    length = shift = 0
    for place in range(at + 1, min(len(packet), at + 1 + _LONGEST_LENGTH)):
        byte = packet[place]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            begin = place + 1
            return (begin, begin + length) if begin + length <= len(packet) else None
    if len(packet) > at + _LONGEST_LENGTH:
        raise ValueError("a packet's length has more than four bytes")
    return None


def read_publish(command: int, content: bytes, *, has_properties: bool = True) -> Arrival:
    """Return the message that a PUBLISH carries; `command` is its first byte.

    In MQTT 3.1.1 it has no properties.
    """
    topic, at = _block(content, 0)
    qos = command >> 1 & 3
    mid = 0
    if qos:
        mid, at = int.from_bytes(content[at : at + 2]), at + 2
    length, at = _variable(content, at) if has_properties else (0, at)
    return Arrival(
        topic.decode(errors="replace"),
        mid,
        qos,
        bool(command & 8),
        bool(command & 1),
        content[at : at + length],
        content[at + length :],
    )


def read_puback(content: bytes) -> tuple[int, int, bytes]:
    """Return the number that a PUBACK answers, its reason code, and its properties."""
    if len(content) < 2:
        raise ValueError("a PUBACK without a number")
    code = content[2] if len(content) > 2 else 0
    length, at = _variable(content, 3) if len(content) > 3 else (0, 3)
    return int.from_bytes(content[:2]), code, content[at : at + length]


def read_properties(packed: bytes) -> Properties:
    """Return what `packed` says, as far as it can be read, with the first `MOST_PAIRS` pairs."""
    pairs: list[tuple[str, str]] = []
    found: dict[int, bytes] = {}
    at, end = 0, len(packed)
    try:
        while at < end:
            kind = packed[at]
            if kind != _USER_PROPERTY:
                at = _other_property(packed, at, found)
                continue
            # Written out, for there are three in each message of ours.
            begin = at + 3
            middle = begin + (packed[at + 1] << 8 | packed[at + 2])
            value = middle + 2
            at = value + (packed[middle] << 8 | packed[middle + 1])
            if at > end:
                break
            if len(pairs) == MOST_PAIRS:
                found[kind] = b""
                break
            name = str(packed[begin:middle], "utf-8", "replace")
            pairs.append((name, str(packed[value:at], "utf-8", "replace")))
    except (IndexError, KeyError, ValueError):
        pass  # rule 1
    return Properties(
        pairs,
        _text(found.get(_CONTENT_TYPE)),
        _text(found.get(_RESPONSE_TOPIC)),
        found.get(_CORRELATION_DATA),
        _text(found.get(_REASON_STRING)) or "",
        is_cut=_USER_PROPERTY in found,
    )


def _other_property(packed: bytes, at: int, found: dict[int, bytes]) -> int:
    """Note in `found` the property at `at` if it is one of ours; return where the next begins."""
    kind, at = packed[at], at + 1
    if kind in _STRINGS:
        found[kind], at = _block(packed, at)
    elif kind == _SUBSCRIPTION_IDENTIFIER:
        _, at = _variable(packed, at)
    else:
        at += _SIZES[kind]
    return at


def pack_properties(
    pairs: list[tuple[bytes, bytes]],
    content_type: bytes,
    response_topic: bytes | None,
    correlation_data: bytes | None,
) -> bytes:
    """Return the properties of a PUBLISH, with how many bytes they are in front."""
    parts = [b"\x03", _length(content_type), content_type]
    if response_topic is not None:
        parts += (b"\x08", _length(response_topic), response_topic)
    if correlation_data is not None:
        parts += (b"\x09", _length(correlation_data), correlation_data)
    for name, value in pairs:
        parts += (b"\x26", _length(name), name, _length(value), value)
    packed = b"".join(parts)
    return _variable_length(len(packed)) + packed


def pack_publish(mid: int, topic: bytes, properties: bytes, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 1; `properties` with their length, as `pack_properties` has them."""
    size = len(topic) + len(properties) + len(payload) + 4
    head = (b"\x32", _variable_length(size), _length(topic), topic, mid.to_bytes(2))
    return b"".join((*head, properties, payload))


def pack_pubacks(mids: list[int]) -> bytes:
    """Return a PUBACK for each of `mids`, in their order."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2) for mid in mids])


def _text(found: bytes | None) -> str | None:
    return None if found is None else found.decode(errors="replace")


def _length(text: bytes) -> bytes:
    return len(text).to_bytes(2)


def _block(packed: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes that come with their length, two bytes of it, and what comes after them."""
    begin = at + 2
    end = begin + int.from_bytes(packed[at:begin])
    if begin > len(packed) or end > len(packed):
        raise ValueError("a string that ends beyond its packet")
    return packed[begin:end], end


def _variable(packed: bytes, at: int) -> tuple[int, int]:
    """Return the number that MQTT writes in up to four bytes, and what comes after them."""
    number = 0
    for place, byte in enumerate(packed[at : at + _LONGEST_LENGTH]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number that does not end")


def _variable_length(number: int) -> bytes:
    """Return `number` as MQTT writes lengths: seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
