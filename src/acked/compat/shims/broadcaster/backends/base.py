"""As `acked.compat.broadcaster.backends.base`."""

from acked.compat.broadcaster.backends.base import BroadcastBackend, Event

__all__ = ("BroadcastBackend", "Event")
