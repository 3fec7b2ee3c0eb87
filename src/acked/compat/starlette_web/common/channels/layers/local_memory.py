"""Within one process: any object, by reference; on asyncio or trio."""

from typing import Any

import anyio.lowlevel

from acked.compat.starlette_web.common.channels._inbox import Inbox, owner
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer

__all__ = ("InMemoryChannelLayer",)


class InMemoryChannelLayer(BaseChannelLayer):
    """Hands messages to the subscribers of the same channel.

    `max_buffer_size` is accepted and not needed: the subscribers have buffers of their own.
    """

    def __init__(self, max_buffer_size: float = 0, **options: Any) -> None:
        super().__init__(**options)
        self.max_buffer_size = max_buffer_size
        self._subscribed: dict[str, int] = {}
        self._owners: dict[str, list[str | None]] = {}
        self._inbox = Inbox()

    async def connect(self) -> None:
        """Begin."""
        self._inbox.open()

    async def disconnect(self) -> None:
        """Forget who subscribed."""
        self._subscribed.clear()
        self._owners.clear()
        self._inbox.close()

    async def subscribe(self, group: str, **kwargs: Any) -> None:
        """Let what is published to `group` be returned by `next_published`."""
        del kwargs
        self._owners.setdefault(group, []).append(owner())
        self._subscribed[group] = len(self._owners[group])

    async def unsubscribe(self, group: str, **kwargs: Any) -> None:
        """Undo one `subscribe`."""
        del kwargs
        owners = self._owners.get(group, [])
        if owner() in owners:
            owners.remove(owner())
        if owners:
            self._subscribed[group] = len(owners)
        else:
            self._owners.pop(group, None)
            self._subscribed.pop(group, None)

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message`; with nobody subscribed it is dropped.

        Raises `RuntimeError` when the channel is not entered.
        """
        del kwargs
        if not self._inbox.is_open:
            raise RuntimeError("this layer is not connected; enter its Channel first")
        for one in dict.fromkeys(self._owners.get(group, ())):
            event = Event(group, message)
            event.owner = one
            await self._inbox.send(event)
        # The others' turn: an application that publishes in a loop may do nothing else.
        await anyio.lowlevel.checkpoint()

    async def next_published(self) -> Event:
        """Return the next event; see `BaseChannelLayer`."""
        return await self._inbox.next()
