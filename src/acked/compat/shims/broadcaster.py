"""`broadcaster`, as `acked` has it: for applications whose imports cannot be changed."""

from acked.compat._aliases import install
from acked.compat.broadcaster import Broadcast, BroadcastBackend, Event, __version__

__all__ = ("Broadcast", "BroadcastBackend", "Event", "__version__")

install(__name__)
