"""What a backend of your own may inherit from."""

from typing import Any

from acked.compat.broadcaster._events import Event

__all__ = ("BroadcastBackend", "Event")


class BroadcastBackend:
    """The methods of a backend. `Broadcast` asks for these, not for this class."""

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    async def connect(self) -> None:
        """Connect; called before anything else."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Disconnect; called after everything else."""
        raise NotImplementedError

    async def subscribe(self, channel: str) -> None:
        """Let `next_published` return what is published to `channel` from now on.

        Called for the first subscriber of a channel, and not again before `unsubscribe`.
        """
        raise NotImplementedError

    async def unsubscribe(self, channel: str) -> None:
        """Undo `subscribe`; called when the last subscriber of `channel` has left."""
        raise NotImplementedError

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; called by any number of tasks at once."""
        raise NotImplementedError

    async def next_published(self) -> Event:
        """Wait for the next event; what it raises is raised in every subscriber."""
        raise NotImplementedError
