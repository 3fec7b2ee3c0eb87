"""Within one process: any object, by reference; on asyncio or trio."""

from collections import Counter
from typing import Any, ClassVar

from acked.compat._backend import InMemory
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer

__all__ = ("InMemoryChannelLayer",)


class InMemoryChannelLayer(InMemory, BaseChannelLayer):
    """Hands messages to the subscribers of the same channel, and lets others run for each."""

    CLOSED: ClassVar[type[Exception]] = RuntimeError
    IN_A_TURN: ClassVar[int] = 1

    def __init__(self, max_buffer_size: float = 0, **_: Any) -> None:
        super().__init__()
        self.max_buffer_size = max_buffer_size  # not needed: subscribers have buffers of their own

    @property
    def _subscribed(self) -> Counter[str]:
        return Counter({name: len(heard) for name, heard in self._heard.items()})
