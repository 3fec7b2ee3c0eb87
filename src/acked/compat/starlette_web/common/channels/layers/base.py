"""What a channel layer of your own inherits from, and what our own have in common."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, ClassVar

from acked import ConfigurationError, Record
from acked.abc import FireAndForgetLayer
from acked.compat._backend import Backend
from acked.compat._source import OnLoss, Source
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.http.exceptions import ImproperlyConfigured
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer, JSONSerializer

__all__ = ("BaseChannelLayer",)

logger: logging.Logger = logging.getLogger("acked.compat.starlette_web")

TLS = ("ca_", "cert", "cipher", "direct_tls", "key_", "keyfile_", "ssl", "tls")


class BaseChannelLayer(Backend):
    """The methods of a layer. `Channel` asks for these, not for this class."""

    def __init__(self, **options: Any) -> None:
        del options


class SourceLayer(Source, BaseChannelLayer):
    """A channel layer that is a face of one of `acked`'s. It can be inherited from."""

    serializer_class: ClassVar[type[BaseSerializer]] = JSONSerializer

    def __init__(
        self, make: Callable[[], FireAndForgetLayer], on_loss: OnLoss, unused: Iterable[str] = ()
    ) -> None:
        super().__init__(make, on_loss)
        self._serializer = self.serializer_class()
        for name in unused:
            if name.startswith(TLS):
                raise ConfigurationError(f"{name}= cannot be kept here, and TLS is not weakened")
        if options := ", ".join(sorted(unused)):
            logger.info("%s: acked has no use for these options: %s", type(self).__name__, options)

    def event(self, record: Record) -> Event:
        """Return the event; raises what the serializer raises."""
        return Event(record.topic, self._serializer.deserialize(record.body))


@contextmanager
def configured() -> Generator[None]:
    """Raise `ImproperlyConfigured` for an option that cannot be."""
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        raise ImproperlyConfigured(details=str(error)) from error
