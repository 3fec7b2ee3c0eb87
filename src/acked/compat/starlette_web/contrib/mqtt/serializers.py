"""How messages become payloads."""

import json
from typing import Any

from acked.compat.starlette_web.common.utils.serializers import BytesSerializer, SerializeError

__all__ = ("MQTTSerializer",)


class MQTTSerializer(BytesSerializer):
    """Bytes and text as they are, anything else as JSON; what arrives is read as JSON, or text.

    The original pickles what is no JSON, and unpickles what arrives: see `PickleSerializer`.
    """

    def serialize(self, content: Any) -> bytes:
        """Return the payload; raise `SerializeError` for what has none."""
        if isinstance(content, bytes | bytearray):
            return bytes(content)
        if isinstance(content, memoryview):
            return content.tobytes()
        if isinstance(content, str):
            return content.encode()
        try:
            return json.dumps(content).encode()
        except (TypeError, ValueError) as error:
            raise SerializeError(details=f"{type(content).__name__} is no JSON") from error

    def deserialize(self, content: Any) -> Any:
        """Return the JSON value, else the text, else the bytes."""
        try:
            return json.loads(content)
        except ValueError:
            pass
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content
