"""What a channel layer of your own inherits from, and those over a broker do."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from acked import ConfigurationError
from acked.abc import FireAndForgetLayer
from acked.compat._backend import Backend
from acked.compat._source import OnLoss, Source
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.http.exceptions import (
    ImproperlyConfigured,
    NotSupportedError,
)
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer, JSONSerializer

__all__ = ("BaseChannelLayer", "SourceLayer", "configured")

logger: Final = logging.getLogger("acked.compat.starlette_web")

TLS: Final = ("ca_", "cert", "cipher", "direct_tls", "key_", "keyfile_", "ssl", "tls")
"""How options begin that say whom to trust."""


class BaseChannelLayer(Backend):
    """The methods of a layer. `Channel` asks for these, not for this class."""

    REFUSAL: ClassVar[type[Exception]] = NotSupportedError
    EVENT: ClassVar[Callable[[str, Any], Event]] = Event

    def __init__(self, **options: Any) -> None:
        del options

    async def publish(self, group: str, message: Any, **_: Any) -> None:
        """Publish `message`; raises what the serializer raises, or the driver's own error."""
        await self._send(group, message)


class SourceLayer(Source, BaseChannelLayer):
    """A channel layer that is a face of one of `acked`'s. It can be inherited from."""

    serializer_class: ClassVar[type[BaseSerializer]] = JSONSerializer

    def __init__(
        self,
        kind: Callable[..., FireAndForgetLayer],
        url: str,
        on_loss: OnLoss,
        unused: Iterable[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(kind, url, on_loss, **options)
        self._serializer = self.serializer_class()
        for name in unused:
            if name.startswith(TLS):
                raise ConfigurationError(f"{name}= cannot be kept here, and TLS is not weakened")
        if names := ", ".join(sorted(unused)):
            logger.info("%s: acked has no use for these options: %s", type(self).__name__, names)

    def _encode(self, message: Any) -> bytes:
        body = self._serializer.serialize(message)
        return body.encode() if isinstance(body, str) else body

    def _decode(self, body: bytes) -> Any:
        return self._serializer.deserialize(body)


@contextmanager
def configured() -> Generator[None]:
    """Raise `ImproperlyConfigured` for an option that cannot be."""
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        raise ImproperlyConfigured(details=str(error)) from error
