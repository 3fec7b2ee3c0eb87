"""Within one process: any object, by reference; on asyncio or trio."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from acked.compat._source import InMemory
from acked.compat.starlette_web._source_layer import SourceLayer
from acked.compat.starlette_web.common.channels.event import Event
from acked.layers.memory import MemoryLayer
from acked.types import Record

__all__ = ("InMemoryChannelLayer",)


class InMemoryChannelLayer(InMemory, SourceLayer):
    """Hands messages to the subscribers of the same channel.

    `max_buffer_size` is accepted and not needed: the subscribers have buffers of their own.
    """

    def __init__(self, max_buffer_size: float = 0, **options: Any) -> None:
        super().__init__(MemoryLayer, "reconnect", options)
        self.max_buffer_size = max_buffer_size

    @property
    def _subscribed(self) -> Mapping[str, int]:
        return Counter(self._listens.names())

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message`; with nobody subscribed it is dropped.

        Raises `RuntimeError` when the channel is not entered.
        """
        del kwargs
        if not self._inbox.is_open:
            raise RuntimeError("this layer is not connected; enter its Channel first")
        await self._send(group, message)

    def event(self, record: Record) -> Event:
        """Return the event."""
        return Event(record.topic, record.body)
