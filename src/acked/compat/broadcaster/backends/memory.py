"""`memory://`: within one process, any object, by reference."""

from typing import ClassVar

from acked import ChannelClosed
from acked.compat._backend import InMemory
from acked.compat._source import OnLoss, layers_way
from acked.compat.broadcaster._base import BroadcastBackend

__all__ = ("MemoryBackend",)


class MemoryBackend(InMemory, BroadcastBackend):
    """Passes messages on within this `Broadcast`; the URL says no more than that."""

    CLOSED: ClassVar[type[Exception]] = ChannelClosed
    IN_A_TURN: ClassVar[int] = 64

    def __init__(self, url: str = "memory://", on_loss: OnLoss = "reconnect") -> None:
        super().__init__()
        del url
        layers_way(on_loss)  # there is nothing to lose; but what it cannot be is told
