"""The API of encode/broadcaster over `acked`, on asyncio: see the guide *Move from broadcaster*."""

from typing import Final

from acked.compat.broadcaster._base import Broadcast, BroadcastBackend, Event

__version__: Final = "0.3.1"
"""The release of the original whose API this is."""

__all__ = ("Broadcast", "BroadcastBackend", "Event")
