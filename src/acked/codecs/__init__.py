"""How bodies become bytes: `JSON` (the default), `MSGPACK`, `RAW`, `TEXT`; pydantic's apart.

`acked.types.Codec` is the protocol; anything that has its three members is a codec.
"""

from acked.codecs.json import JSON, JsonCodec
from acked.codecs.msgpack import MSGPACK, MsgpackCodec
from acked.codecs.raw import RAW, RawCodec
from acked.codecs.text import TEXT, TextCodec
from acked.types import Codec

__all__ = (
    "JSON",
    "MSGPACK",
    "RAW",
    "TEXT",
    "Codec",
    "JsonCodec",
    "MsgpackCodec",
    "RawCodec",
    "TextCodec",
)
