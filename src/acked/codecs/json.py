"""JSON by msgspec: bodies are checked against the topic's type while they are decoded."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from acked.codecs._byte_order_mark import without_mark
from acked.codecs._nothing import none_for_nothing
from acked.codecs._payload import wire_type

__all__ = ("JSON", "JsonCodec")

T = TypeVar("T")


class JsonCodec:
    """Encode bodies as JSON text in UTF-8; decode them into the topic's type, strictly.

    Unknown fields are ignored unless the type forbids them; `strict=False` also accepts numbers
    and booleans that arrive as strings. JSON has no NaN and no infinity: they become null, which
    a channel notices and refuses (see `Channel(verify_bodies=)`).
    """

    content_type: str = "application/json"

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict

    def __repr__(self) -> str:
        return f"JsonCodec(strict={self._strict})"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return msgspec's JSON encoder; `ConfigurationError` for a type it cannot do."""
        wire_type(payload)
        return msgspec.json.Encoder().encode

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return a JSON decoder built once for `payload`; raise as `encoder` does.

        An empty body is None where the type admits it.
        """
        decoder = msgspec.json.Decoder(wire_type(payload), strict=self._strict)
        return none_for_nothing(without_mark(decoder.decode), b"null")


JSON: Final = JsonCodec()
