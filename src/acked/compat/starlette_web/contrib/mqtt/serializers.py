"""How messages become payloads."""

from contextlib import suppress
from typing import Any

from acked.compat._source import as_bytes
from acked.compat.starlette_web.common.utils.serializers import DeserializeError, JSONSerializer

__all__ = ("MQTTSerializer",)


class MQTTSerializer(JSONSerializer):
    """Bytes and text as they are, anything else as JSON; what arrives is read as JSON, or text."""

    def serialize(self, content: Any) -> bytes:
        """Return the payload."""
        body = as_bytes(content)
        return super().serialize(content) if body is None else body

    def deserialize(self, content: Any) -> Any:
        """Return the JSON value, else the text, else the bytes."""
        if content:
            with suppress(DeserializeError):
                return super().deserialize(content)
        with suppress(UnicodeDecodeError):
            return content.decode()
        return content
