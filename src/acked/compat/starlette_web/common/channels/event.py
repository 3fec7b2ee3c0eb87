"""What a subscriber is handed."""

from dataclasses import dataclass
from typing import Any

from acked.compat._events import BaseEvent

__all__ = ("Event",)


# Called as in the original, and so is its namesake of broadcaster.
@dataclass
class Event(BaseEvent):
    """A message and the group it was published to: its own name, not a pattern."""

    group: str
    message: Any
