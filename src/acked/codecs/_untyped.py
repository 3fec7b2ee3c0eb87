"""What an untyped topic means to msgspec."""

from typing import Any, TypeVar, cast

T = TypeVar("T")


def wire_type(payload: type[T]) -> type[T]:
    """Return the type to decode: `object`, the payload of an untyped topic, is any value."""
    return cast("type[T]", Any) if payload is object else payload
