"""How messages become bytes: a layer's `serializer_class`."""

import json
import pickle
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
        """Return what the bytes `content` carry; raise `DeserializeError` if they are no such."""
        raise NotImplementedError


class BytesSerializer(BaseSerializer):
    """A serializer to bytes."""


class JSONSerializer(BytesSerializer):
    """JSON: whoever can publish can send data, and nothing but data."""

    def serialize(self, content: Any) -> bytes:
        """Return JSON."""
        try:
            return json.dumps(content).encode()
        except (TypeError, ValueError) as error:
            raise SerializeError(details=f"{type(content).__name__} is no JSON") from error

    def deserialize(self, content: Any) -> Any:
        """Return the value."""
        try:
            return json.loads(content or b"null")
        except ValueError as error:
            raise DeserializeError(details="the message is no JSON") from error


class PickleSerializer(BytesSerializer):
    """Any picklable object, where everybody who can publish may run any code in every subscriber.

    To unpickle is to call whatever function the bytes name, and an unprotected Redis gives its
    neighbours a shell here. The original does so by default, `acked` only if you say so: for a
    broker that nobody but your own programs can reach, or until the last process that still
    pickles is replaced.
    """

    def serialize(self, content: Any) -> bytes:
        """Return a pickle."""
        try:
            return pickle.dumps(content)
        except Exception as error:  # pickle raises nearly anything
            raise SerializeError(details=f"{type(content).__name__} has no pickle") from error

    def deserialize(self, content: Any) -> Any:
        """Return the object."""
        try:
            return pickle.loads(content)  # noqa: S301 - chosen by the application: see above
        except Exception as error:  # pickle raises nearly anything
            raise DeserializeError(details="the message is no pickle") from error
