"""Within one process: any object, by reference; on asyncio or trio."""

from collections import Counter
from typing import Any, ClassVar

from acked import Record
from acked.compat._source import InMemory
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer
from acked.layers.memory import MemoryLayer

__all__ = ("InMemoryChannelLayer",)


class InMemoryChannelLayer(InMemory, SourceLayer):
    """Hands messages to the subscribers of the same channel.

    `max_buffer_size` is accepted and not needed: the subscribers have buffers of their own.
    """

    CLOSED: ClassVar[type[Exception]] = RuntimeError

    def __init__(self, max_buffer_size: float = 0, **_: Any) -> None:
        super().__init__(MemoryLayer(), "reconnect")
        self.max_buffer_size = max_buffer_size

    @property
    def _subscribed(self) -> Counter[str]:
        calls = (call for calls in self._calls.values() for call in calls)
        return Counter(name for call in calls for name in call.names)

    async def publish(self, group: str, message: Any, **_: Any) -> None:
        """Publish the very object, to nobody if nobody listens; `RuntimeError` when not entered."""
        await self._send(group, message)

    def event(self, record: Record) -> Event:
        """Return the event."""
        return Event(record.topic, record.body)
