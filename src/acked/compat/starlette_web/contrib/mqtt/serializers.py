"""How messages become payloads."""

from contextlib import suppress
from typing import Any

from acked.compat.starlette_web.common.utils.serializers import DeserializeError, JSONSerializer

__all__ = ("MQTTSerializer",)


class MQTTSerializer(JSONSerializer):
    """Bytes and text as they are, anything else as JSON; what arrives is read as JSON, or text.

    The original pickles what is no JSON, and unpickles what arrives: see `PickleSerializer`.
    """

    def serialize(self, content: Any) -> bytes:
        """Return the payload."""
        if isinstance(content, bytes | bytearray):
            return bytes(content)
        if isinstance(content, memoryview):
            return content.tobytes()
        return content.encode() if isinstance(content, str) else super().serialize(content)

    def deserialize(self, content: Any) -> Any:
        """Return the JSON value, else the text, else the bytes."""
        if content:
            with suppress(DeserializeError):
                return super().deserialize(content)
        with suppress(UnicodeDecodeError):
            return content.decode()
        return content
