"""JSON that begins with a byte order mark, as some editors and clients write it."""

from codecs import BOM_UTF8
from collections.abc import Callable
from typing import TypeVar

__all__ = ("without_mark",)

T = TypeVar("T")


def without_mark(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return `decode`, which tries what it cannot decode once more, without its mark."""

    def decode_marked(body: bytes) -> T:
        try:
            return decode(body)
        except Exception:
            if body.startswith(BOM_UTF8):
                return decode(body[len(BOM_UTF8) :])
            raise

    return decode_marked
