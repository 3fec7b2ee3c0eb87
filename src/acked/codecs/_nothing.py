"""A message without a body, as a tombstone is, where the topic's type admits None."""

from collections.abc import Callable
from typing import TypeVar

__all__ = ("none_for_nothing",)

T = TypeVar("T")


def none_for_nothing(decode: Callable[[bytes], T], null: bytes) -> Callable[[bytes], T]:
    """Return `decode` that takes an empty body for `null`, if that decodes at all.

    Where the type does not admit None, an empty body does not decode, as before.
    """
    try:
        decode(null)
    except Exception:  # noqa: BLE001 - whatever it raises, it says no
        return decode
    return lambda body: decode(body or null)
