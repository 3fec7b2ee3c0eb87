"""What was encoded is decoded again and compared: what `publish` accepts, a subscriber gets."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ("arrives_equal",)


def arrives_equal(
    body: Any, encoded: bytes, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> bool:
    """Say whether a subscriber gets `body` out of `encoded`; raise what the decoder raises.

    Equal is what the type's own `==` calls equal, else the same values in the same places: of an
    untyped topic, or where a class compares by identity, or for NaN, which equals nothing.
    """
    decoded = decode(encoded)
    try:
        equal = bool(decoded == body)
    except Exception:  # noqa: BLE001 - a class's own `==` may do anything; it has not said yes
        equal = False
    if equal:
        return True
    try:
        sent, got = msgspec.to_builtins(body), msgspec.to_builtins(decoded)
    except Exception:  # noqa: BLE001 - not msgspec's kind: a codec of the user's, or pydantic's
        return _encodes_the_same(body, decoded, encoded, encode)
    return _alike(sent, got)


def _encodes_the_same(
    body: object, decoded: object, encoded: bytes, encode: Callable[[Any], bytes]
) -> bool:
    # JSON's null may have been a NaN: then the bytes are the same, and the values are not.
    by_identity = type(body).__eq__ is object.__eq__
    return (by_identity or b"null" not in encoded) and encode(decoded) == encoded


def _alike(sent: Any, got: Any) -> bool:
    if _both(dict, sent, got):
        return sent.keys() == got.keys() and all(_alike(sent[key], got[key]) for key in sent)
    if _both((list, tuple), sent, got):
        return len(sent) == len(got) and all(map(_alike, sent, got))
    if _both(float, sent, got) and math.isnan(sent):
        return math.isnan(got)
    return bool(sent == got)


def _both(kind: type | tuple[type, ...], sent: object, got: object) -> bool:
    return isinstance(sent, kind) and isinstance(got, kind)
