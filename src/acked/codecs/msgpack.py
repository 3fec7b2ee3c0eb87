"""MessagePack by msgspec: smaller and faster than JSON, and binary-safe."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from acked.codecs._nothing import none_for_nothing
from acked.codecs._payload import wire_type

__all__ = ("MSGPACK", "MsgpackCodec")

T = TypeVar("T")


class MsgpackCodec:
    """Encode bodies as MessagePack; decode them into the topic's type, strictly."""

    content_type: str = "application/msgpack"

    def __repr__(self) -> str:
        return "MsgpackCodec()"

    def encoder(self, payload: type[T]) -> Callable[[T], bytes]:
        """Return msgspec's MessagePack encoder; `ConfigurationError` for a type it cannot do."""
        wire_type(payload)
        return msgspec.msgpack.Encoder().encode

    def decoder(self, payload: type[T]) -> Callable[[bytes], T]:
        """Return a MessagePack decoder built once for `payload`; raise as `encoder` does.

        An empty body is None where the type admits it.
        """
        return none_for_nothing(msgspec.msgpack.Decoder(wire_type(payload)).decode, b"\xc0")


MSGPACK: Final = MsgpackCodec()
