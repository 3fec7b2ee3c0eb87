"""`memory://`: within one process, any object, by reference."""

from typing import Any, ClassVar

from acked import ChannelClosed
from acked.compat._backend import InMemory
from acked.compat._events import BaseEvent
from acked.compat.broadcaster._base import BroadcastBackend, Event

__all__ = ("MemoryBackend",)


class MemoryBackend(InMemory, BroadcastBackend):
    """Passes messages on within this `Broadcast`; the URL says no more than that."""

    CLOSED: ClassVar[type[Exception]] = ChannelClosed
    EVENT: ClassVar[type[BaseEvent]] = Event

    def __init__(self, url: str = "memory://") -> None:
        super().__init__()
        del url

    async def publish(self, channel: str, message: Any) -> None:
        """Publish the very object; raise `ChannelClosed` when not connected."""
        await self._send(channel, message)
