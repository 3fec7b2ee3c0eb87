"""How messages become bytes: a layer's `serializer_class`."""

import json
import pickle
from collections.abc import Callable
from typing import Any

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


class JSONSerializer(BytesSerializer):
    """JSON: whoever can publish can send data, and nothing but data."""

    def serialize(self, content: Any) -> bytes:
        """Return JSON."""
        text: str = _tried(json.dumps, content, SerializeError)
        return text.encode()

    def deserialize(self, content: Any) -> Any:
        """Return the value; None for nothing at all."""
        return _tried(json.loads, content or b"null", DeserializeError)


class PickleSerializer(BytesSerializer):
    """Any picklable object, where everybody who can publish may run any code in every subscriber.

    To unpickle is to call whatever function the bytes name: the original does so by default.
    """

    def serialize(self, content: Any) -> Any:
        """Return a pickle."""
        return _tried(pickle.dumps, content, SerializeError)

    def deserialize(self, content: Any) -> Any:
        """Return what the pickle makes."""
        return _tried(pickle.loads, content, DeserializeError)


def _tried(way: Callable[[Any], Any], content: Any, failure: type[SerializerError]) -> Any:
    try:
        return way(content)
    except Exception as error:  # pickle raises nearly anything
        raise failure(f"{type(content).__name__}: not for {way.__module__}") from error
