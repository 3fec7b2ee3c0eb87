"""How messages become bytes: a layer's `serializer_class`."""

from acked.compat.starlette_web._channels import (
    BaseSerializer,
    BytesSerializer,
    DeserializeError,
    JSONSerializer,
    PickleSerializer,
    SerializeError,
    SerializerError,
)

__all__ = (
    "BaseSerializer",
    "BytesSerializer",
    "DeserializeError",
    "JSONSerializer",
    "PickleSerializer",
    "SerializeError",
    "SerializerError",
)
