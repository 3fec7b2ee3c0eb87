"""What our channel layers have in common."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from acked import ConfigurationError
from acked.abc import FireAndForgetLayer
from acked.compat._source import OnLoss, Source
from acked.compat.starlette_web.common.channels.exceptions import ListenerClosed
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.compat.starlette_web.common.http.exceptions import ImproperlyConfigured

__all__ = ("SourceLayer",)

logger = logging.getLogger("acked.compat.starlette_web")


class SourceLayer(Source, BaseChannelLayer):
    """A channel layer that is a face of one of `acked`'s. It can be inherited from."""

    END: ClassVar[type[Exception]] = ListenerClosed

    def __init__(
        self, make: Callable[[], FireAndForgetLayer], on_loss: OnLoss, unused: Iterable[str] = ()
    ) -> None:
        try:
            self._use(make(), on_loss)
        except (ConfigurationError, TypeError) as error:
            raise ImproperlyConfigured(details=str(error)) from error
        if options := ", ".join(sorted(unused)):
            logger.info("%s: acked has no use for these options: %s", type(self).__name__, options)

    async def subscribe(self, group: str, **kwargs: Any) -> None:
        """Listen to `group`; returns when the broker has confirmed."""
        del kwargs
        await self._listens.subscribe(group)

    async def unsubscribe(self, group: str, **kwargs: Any) -> None:
        """Undo `subscribe`."""
        del kwargs
        await self._listens.unsubscribe(group)
