"""What a backend of your own may inherit from."""

from acked.compat.broadcaster._base import BroadcastBackend, Event

__all__ = ("BroadcastBackend", "Event")
