"""A record that a topic keeps, and what came back of it."""

from typing import TypeAlias

import msgspec

from acked.layers.memory_queue._charge import Charge
from acked.types import Record

__all__ = ("Kept", "Returned")


class Kept(msgspec.Struct, gc=False):
    """One record a topic keeps, its number in the topic, and how many groups still owe it."""

    number: int
    record: Record
    position: str
    owed: int
    due: float = 0.0
    """Before which nobody is handed it."""
    expires: float = 0.0
    """From which on nobody is any more; 0 is never."""
    ahead: int = 0
    """By how much it comes before its number: by its priority."""


Returned: TypeAlias = tuple[int, Charge, Kept]
"""The place of what came back or has a priority, what counted before, and itself."""
