"""No codec at all: the body is the bytes, as they are."""

from collections.abc import Callable
from typing import Final, TypeVar, cast

from acked.errors import ConfigurationError

__all__ = ("RAW", "RawCodec")

T = TypeVar("T")


class RawCodec:
    """Pass bytes through; only for topics whose payload is `bytes`."""

    content_type: str = "application/octet-stream"

    def __repr__(self) -> str:
        return "RawCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return a function that hands bytes through and refuses anything else."""
        _only_bytes(payload)
        return cast("Callable[[T], bytes]", _checked)

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return `bytes`, which gives the same object back without a copy."""
        return _only_bytes(payload)


def _only_bytes(payload: type[T]) -> Callable[[bytes], T]:
    if payload is not bytes:
        raise ConfigurationError(
            f"the raw codec carries bytes, not {getattr(payload, '__name__', payload)}; "
            "give the topic the payload type bytes, or another codec"
        )
    return payload


def _checked(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray):
        return bytes(body)
    raise TypeError(f"expected bytes, got {type(body).__name__}")


RAW: Final = RawCodec()
