"""`Channel`, and what it hands out."""

import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Self

import anyio

from acked import ConfigurationError
from acked.compat._events import CAPACITY, EventReader
from acked.compat._hub import Hub
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.exceptions import ListenerClosed

__all__ = ("Channel", "Event", "Subscriber")


# Called as in the original, and so is its namesake of broadcaster.
class Subscriber(EventReader[Event]):
    """The events of one group, in order; any task may read, each event goes to one of them."""

    LOGGER: ClassVar[logging.Logger] = logging.getLogger("acked.compat.starlette_web")
    END: ClassVar[type[Exception]] = ListenerClosed


# Called as in the original, like `acked.Channel`, which it is a face of.
class Channel(Hub):
    """Publishes to groups, and lets any number of subscribers hear them.

    Built anywhere, also outside an event loop. Enter and leave it again and again, on one event
    loop after another; use it from any task meanwhile. What its block raises comes out as it is.
    """

    EXIT_MAX_DELAY: float = 60
    PLACE: ClassVar[str] = "group"

    def __init__(self, channel_layer: Any) -> None:
        super().__init__(channel_layer)

    async def __aenter__(self) -> Self:
        """Connect, and listen from now on. Raises what the layer's `connect` raises."""
        if self._is_open:
            raise ConfigurationError("this channel is open; make another one for that")
        return await super().__aenter__()

    async def disconnect(self) -> None:
        """Disconnect within `EXIT_MAX_DELAY` seconds: `async for` of every subscriber ends."""
        with anyio.fail_after(self.EXIT_MAX_DELAY, shield=True):
            await super().disconnect()

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message` by the layer, which takes `kwargs`; never waits for a subscriber."""
        if entering := self._subscribing(group):
            await entering
        await self._backend.publish(group, message, **kwargs)

    def subscribe(
        self, group: str, max_buffer_size: float = 0, **kwargs: Any
    ) -> AbstractAsyncContextManager[Subscriber]:
        """Subscribe by the layer, which takes `kwargs`; what is published afterwards arrives.

        At most `max_buffer_size` events wait to be read; one more drops the oldest, which is
        counted, logged, and told by the next event's `gap`. 0 and infinity are 65,536.
        """
        capacity = int(max_buffer_size) if 1 <= max_buffer_size < CAPACITY else CAPACITY
        return Subscriber(group, capacity, self._join, self._part, options=kwargs)
