"""What a subscriber is handed, and what it is told when there is no more."""

from typing import Any, ClassVar

from acked.types import Gap

__all__ = ("Event", "Unsubscribed")


class Event:
    """A message and the channel it came by.

    `gap` tells of messages that may have been missed just before it, None when none was; two
    events are equal without regard to it.
    """

    gap: Gap | None = None

    def __init__(self, channel: str, message: Any) -> None:
        self.channel: str = channel
        self.message: Any = message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return self.channel == other.channel and bool(self.message == other.message)

    # As in the original: its fields can be changed.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Event(channel={self.channel!r}, message={self.message!r})"


class Unsubscribed(Exception):
    """The subscription was left, or the `Broadcast` disconnected: nothing comes any more."""
