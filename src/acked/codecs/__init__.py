"""How bodies become bytes: `JSON` (the default), `MSGPACK`, `RAW`; `acked.codecs.pydantic` apart.

`acked.types.Codec` is the protocol; anything that has its three members is a codec.
"""

from acked.codecs.json import JSON, JsonCodec
from acked.codecs.msgpack import MSGPACK, MsgpackCodec
from acked.codecs.raw import RAW, RawCodec
from acked.types import Codec

__all__ = ("JSON", "MSGPACK", "RAW", "Codec", "JsonCodec", "MsgpackCodec", "RawCodec")
