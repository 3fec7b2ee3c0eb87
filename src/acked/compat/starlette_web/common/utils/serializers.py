"""How messages become bytes: a layer's `serializer_class`."""

import json
import pickle
from typing import Any, ClassVar

from acked.compat.starlette_web.common.http.exceptions import BaseApplicationError

__all__ = (
    "BaseSerializer",
    "BytesSerializer",
    "DeserializeError",
    "JSONSerializer",
    "PickleSerializer",
    "SerializeError",
    "SerializerError",
)


class SerializerError(BaseApplicationError):
    """A message and its bytes do not go together."""


class SerializeError(SerializerError):
    """The message cannot become bytes."""


class DeserializeError(SerializerError):
    """The bytes are none of this serializer's."""


class BaseSerializer:
    """What a serializer of your own inherits from; layers ask for its two methods only."""

    def serialize(self, content: Any) -> Any:
        """Return the bytes (or text) that carry `content`; raise `SerializeError` if none do."""
        raise NotImplementedError

    def deserialize(self, content: Any) -> Any:
        """Return what the bytes `content` carry; raise `DeserializeError` if that is nothing."""
        raise NotImplementedError


class BytesSerializer(BaseSerializer):
    """A serializer to bytes."""


class _ByModule(BytesSerializer):
    MODULE: ClassVar[Any]

    def serialize(self, content: Any) -> Any:
        try:
            return self.MODULE.dumps(content)
        except Exception as error:  # pickle raises nearly anything
            raise SerializeError(self._unfit(content)) from error

    def deserialize(self, content: Any) -> Any:
        try:
            return self.MODULE.loads(content)
        except Exception as error:
            raise DeserializeError(self._unfit(content)) from error

    def _unfit(self, content: object) -> str:
        return f"{type(content).__name__}: not for {self.MODULE.__name__}"


class JSONSerializer(_ByModule):
    """JSON: whoever can publish can send data, and nothing but data."""

    MODULE: ClassVar[Any] = json

    def serialize(self, content: Any) -> bytes:
        """Return JSON."""
        text: str = super().serialize(content)
        return text.encode()

    def deserialize(self, content: Any) -> Any:
        """Return the value; None for nothing at all."""
        return super().deserialize(content or b"null")


class PickleSerializer(_ByModule):
    """Any picklable object, where everybody who can publish may run any code in every subscriber.

    To unpickle is to call whatever function the bytes name: the original does so by default.
    """

    MODULE: ClassVar[Any] = pickle
