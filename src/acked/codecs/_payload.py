"""What a topic's payload type means to msgspec, and which types msgspec cannot do."""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from msgspec import inspect

from acked.errors import ConfigurationError

__all__ = ("shown", "wire_type")

T = TypeVar("T")


def wire_type(payload: type[T]) -> type[T]:
    """Return the type to decode: `object`, the payload of an untyped topic, is any value.

    Raises `ConfigurationError` for a type that msgspec could not decode into, ever.
    """
    if payload is object:
        return cast("type[T]", Any)
    try:
        info = inspect.type_info(payload)
    except Exception as error:
        raise ConfigurationError(
            f"{shown(payload)} cannot be a topic's payload: {error}"
        ) from error
    for part in _parts(info, set()):
        if isinstance(part, inspect.CustomType) and (cls := cast("object", part.cls)) is not object:
            raise ConfigurationError(_strange(payload, cls))
    return payload


def shown(payload: object) -> str:
    """Return how a type is called in an error."""
    return getattr(payload, "__name__", None) or str(payload)


def _parts(info: inspect.Type, seen: set[int]) -> Iterator[inspect.Type]:
    """Yield `info` and every type it is made of; msgspec gives one object for each that recurs."""
    if id(info) in seen:
        return
    seen.add(id(info))
    yield info
    for name in info.__struct_fields__:
        for part in _types_in(getattr(info, name)):
            yield from _parts(part, seen)


def _types_in(value: object) -> Iterator[inspect.Type]:
    if isinstance(value, inspect.Type):
        yield value
    elif isinstance(value, inspect.Field):
        yield value.type
    elif isinstance(value, tuple):
        for one in cast("tuple[object, ...]", value):
            yield from _types_in(one)


def _strange(payload: object, part: object) -> str:
    within = "" if part is payload else f" (in {shown(payload)})"
    if hasattr(part, "__pydantic_validator__") or hasattr(part, "model_validate_json"):
        return (
            f"{shown(part)}{within} is a pydantic model, and this codec is msgspec's: give the "
            "topic or the channel codec=PYDANTIC, from acked.codecs.pydantic"
        )
    if getattr(part, "_is_protocol", False):
        return f"{shown(part)}{within} is a Protocol: no body decodes into it; name a class"
    return (
        f"{shown(part)}{within} is no type that msgspec decodes into: use a dataclass, a TypedDict "
        "or a msgspec.Struct, or give the topic a codec= that knows it"
    )
