"""What a subscriber is handed."""

from typing import Any, ClassVar

from acked.types import Gap

__all__ = ("Event",)


class Event:
    """A message and the group it was published to: its own name, not a pattern.

    `gap` tells of messages that may have been missed just before it, None when none was. Two
    events are equal without regard to it.
    """

    gap: Gap | None = None
    owner: str | None = None
    """The group of the subscription that it is for, where that is another one (`a;b`, `a*`)."""

    def __init__(self, group: str, message: Any) -> None:
        self.group: str = group
        self.message: Any = message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.group, self.message) == (other.group, other.message)

    # As in the original: its fields can be changed.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Event(group={self.group!r}, message={self.message!r})"
