"""JSON by pydantic, for topics whose payload is a pydantic model. Needs `acked[pydantic]`."""

from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import TypeAdapter

__all__ = ("PYDANTIC", "PydanticCodec")

T = TypeVar("T")


class PydanticCodec:
    """Encode and decode as pydantic's own JSON mode does, with its validators."""

    content_type: str = "application/json"

    def __repr__(self) -> str:
        return "PydanticCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return pydantic's JSON serializer for `payload`."""
        return TypeAdapter(payload).dump_json

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return pydantic's JSON validator for `payload`."""
        return TypeAdapter(payload).validate_json


PYDANTIC: Final = PydanticCodec()
