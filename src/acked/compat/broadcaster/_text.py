"""Messages as the original puts them on the wire: bare text, whatever was published."""

from collections.abc import Callable
from typing import Final, TypeVar, cast

__all__ = ("TEXT", "TextCodec", "as_bytes", "as_text")

T = TypeVar("T")


def as_bytes(message: object) -> bytes:
    """Return the bytes of a text, of bytes, or of a number's digits; else raise `TypeError`."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes | bytearray):
        return bytes(message)
    if isinstance(message, memoryview):
        return message.tobytes()
    if isinstance(message, int | float) and not isinstance(message, bool):
        return repr(message).encode()
    raise TypeError(f"{type(message).__name__} is no text; publish json.dumps(...) of it")


def as_text(body: bytes) -> str:
    """Return `body` as text, with U+FFFD where it is no UTF-8: nobody's bytes are an error."""
    return body.decode(errors="replace")


class TextCodec:
    """Text out of whatever came; for topics without a type."""

    content_type: str = "text/plain; charset=utf-8"

    def __repr__(self) -> str:
        return "TextCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return `as_bytes`."""
        del payload
        return as_bytes

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return `as_text`."""
        del payload
        return cast("Callable[[bytes], T]", as_text)


TEXT: Final = TextCodec()
