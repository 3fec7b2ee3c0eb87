"""Plain text: what devices and shell scripts send, `ON`, `21.5`, `2026-01-31`."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import inspect

from acked.codecs._payload import shown, wire_type
from acked.errors import ConfigurationError

__all__ = ("TEXT", "TextCodec")

T = TypeVar("T")

_ONE_VALUE: Final = (
    inspect.AnyType,
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BoolType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.UUIDType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
)


class TextCodec:
    """Carry one value as text in UTF-8: a string, a number, a boolean, an enum, a time, a UUID.

    Booleans are `true` and `false` (`1` and `0` are read, too); for `ON` and `OFF` use an enum
    with these values. Around anything but a string white space is ignored.
    """

    content_type: str = "text/plain; charset=utf-8"

    def __repr__(self) -> str:
        return "TextCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return what writes one value; `ConfigurationError` for a type that is more than one."""
        _check(payload)
        return _written

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return what reads one value of the type `payload`; raise as `encoder` does."""
        wanted = _check(payload)
        if wanted in {str, Any}:
            return cast("Callable[[bytes], T]", bytes.decode)

        def read(body: bytes) -> T:
            return msgspec.convert(body.decode().strip(), wanted, strict=False)

        return read


def _check(payload: type[T]) -> type[T]:
    wanted = wire_type(payload)
    if not isinstance(inspect.type_info(wanted), _ONE_VALUE):
        raise ConfigurationError(
            f"plain text carries one value, not {shown(payload)}; use JSON, or a str, a number, a "
            "bool, an enum, a time or a UUID"
        )
    return wanted


def _written(body: object) -> bytes:
    value = msgspec.to_builtins(body)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float):
        return repr(value).encode()
    raise TypeError(f"plain text carries one value, not {type(body).__name__}")


TEXT: Final = TextCodec()
