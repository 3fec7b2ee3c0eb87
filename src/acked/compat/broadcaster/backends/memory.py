"""`memory://`: within one process, any object, by reference."""

from typing import Any, ClassVar

from acked import ChannelClosed, Record
from acked.compat._source import InMemory, OnLoss
from acked.compat.broadcaster._base import Event, TextSource
from acked.layers.memory import MemoryLayer

__all__ = ("MemoryBackend",)


class MemoryBackend(InMemory, TextSource):
    """Passes messages on within this `Broadcast`; the URL says no more than that."""

    CLOSED: ClassVar[type[Exception]] = ChannelClosed

    def __init__(self, url: str = "memory://") -> None:
        super().__init__(url)

    def layer(self, on_loss: OnLoss) -> MemoryLayer:  # noqa: ARG002 - nothing to lose
        """Return a layer of this process."""
        return MemoryLayer()

    async def publish(self, channel: str, message: Any) -> None:
        """Publish the very object; raise `ChannelClosed` when not connected."""
        await self._send(channel, message)

    def event(self, record: Record) -> Event:
        """Return the event."""
        return Event(record.topic, record.body)
