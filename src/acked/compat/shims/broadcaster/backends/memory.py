"""As `acked.compat.broadcaster.backends.memory`."""

from acked.compat.broadcaster.backends.memory import MemoryBackend

__all__ = ("MemoryBackend",)
