"""What a channel layer of your own inherits from."""
# ruff: noqa: ARG002 - the signatures are what matters here

from typing import Any

from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError

__all__ = ("BaseChannelLayer",)


class BaseChannelLayer:
    """The methods of a layer. `Channel` asks for these, not for this class."""

    def __init__(self, **options: Any) -> None:
        del options

    async def connect(self) -> None:
        """Connect; called before anything else."""
        raise NotSupportedError

    async def disconnect(self) -> None:
        """Disconnect; called after everything else."""
        raise NotSupportedError

    async def subscribe(self, group: str, **kwargs: Any) -> None:
        """Let `next_published` return what is published to `group`; until `unsubscribe`, once."""
        raise NotSupportedError

    async def unsubscribe(self, group: str, **kwargs: Any) -> None:
        """Undo `subscribe`; called when the last subscriber of `group` has left."""
        raise NotSupportedError

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message`; called by any number of tasks at once."""
        raise NotSupportedError

    async def next_published(self) -> Event:
        """Wait for the next event; `ListenerClosed` ends every subscriber, others are raised."""
        raise NotSupportedError
