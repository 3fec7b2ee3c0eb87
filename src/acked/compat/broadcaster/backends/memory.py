"""`memory://`: within one process, any object, by reference."""

from typing import ClassVar

from acked.abc import FireAndForgetLayer
from acked.compat._by_reference import BY_REFERENCE
from acked.compat.broadcaster.backends._source import Source
from acked.layers.memory import MemoryLayer
from acked.types import Codec

__all__ = ("MemoryBackend",)


class MemoryBackend(Source):
    """Passes messages on within this `Broadcast`; the URL says no more than that."""

    codec: ClassVar[Codec] = BY_REFERENCE

    def __init__(self, url: str = "memory://") -> None:
        super().__init__()
        del url

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:  # noqa: ARG002 - nothing to lose
        """Return a layer of this process."""
        return MemoryLayer()
