"""JSON by msgspec: bodies are checked against the topic's type while they are decoded."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from acked.codecs._nothing import none_for_nothing
from acked.codecs._untyped import wire_type

__all__ = ("JSON", "JsonCodec")

T = TypeVar("T")


class JsonCodec:
    """Encode bodies as JSON text in UTF-8; decode them into the topic's type, strictly.

    Unknown fields are ignored unless the type forbids them; `strict=False` also accepts numbers
    and booleans that arrive as strings.
    """

    content_type: str = "application/json"

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict

    def __repr__(self) -> str:
        return f"JsonCodec(strict={self._strict})"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:  # noqa: ARG002 - the protocol's
        """Return msgspec's JSON encoder."""
        return msgspec.json.Encoder().encode

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return a JSON decoder built once for `payload`; an empty body is None where it may be."""
        decoder = msgspec.json.Decoder(wire_type(payload), strict=self._strict)
        return none_for_nothing(decoder.decode, b"null")


JSON: Final = JsonCodec()
