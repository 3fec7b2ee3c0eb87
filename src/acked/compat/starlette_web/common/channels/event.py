"""What a subscriber is handed."""

from typing import Any, ClassVar

from acked.compat._events import BaseEvent

__all__ = ("Event",)


# Called as in the original, and so is its namesake of broadcaster.
class Event(BaseEvent):
    """A message and the group it was published to: its own name, not a pattern."""

    PLACE: ClassVar[str] = "group"

    def __init__(self, group: str, message: Any) -> None:
        self.group: str = group
        self.message: Any = message
