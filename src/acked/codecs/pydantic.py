"""JSON by pydantic, for topics whose payload is a pydantic model. Needs `acked[pydantic]`."""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

try:
    from pydantic import TypeAdapter
except ImportError as _absent:
    raise ImportError(
        "acked.codecs.pydantic needs pydantic: pip install 'acked[pydantic]'", name=_absent.name
    ) from _absent

from acked.codecs._byte_order_mark import without_mark

__all__ = ("PYDANTIC", "PydanticCodec")

T = TypeVar("T")


class PydanticCodec:
    """Encode and decode as pydantic's own JSON mode does, with its validators and its aliases."""

    content_type: str = "application/json"

    def __repr__(self) -> str:
        return "PydanticCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return pydantic's JSON serializer for `payload`."""
        # By alias, as it is read. A value of another type is an error, not a warning that shows it.
        return partial(TypeAdapter(payload).dump_json, by_alias=True, warnings="error")

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return pydantic's JSON validator for `payload`."""
        return without_mark(TypeAdapter(payload).validate_json)


PYDANTIC: Final = PydanticCodec()
