"""As `acked.compat.broadcaster._base`."""

from acked.compat.broadcaster._base import Broadcast, Event, Subscriber, Unsubscribed

__all__ = ("Broadcast", "Event", "Subscriber", "Unsubscribed")
