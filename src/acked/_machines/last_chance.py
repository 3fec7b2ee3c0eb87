"""Whether a message is handed out, handed out alone, or given up.

Brokers count a delivery when a message is fetched. A process that dies while it handles one takes
all that it had fetched with it, and each of these is charged. So the count alone must never bury:

1. What its own handlers have failed often enough, each time by a nack, is given up.
2. What has one delivery left, and was charged for any other end of a lease, gets it alone.
3. What comes again from having been alone, by another end than a nack, may have ended its process.
   The process may as well have been killed from outside, or have stood still for longer than a
   lease, and nobody can tell. So it gets one more delivery alone, and is given up if that one ends
   in the same way: a poison always does, and a coincidence hardly comes twice to one message.
"""

import enum
from typing import Final

__all__ = ("Chance", "chance")

TIMES_ALONE: Final = 2
"""Deliveries alone that must have ended by themselves before that is held against a message."""


class Chance(enum.Enum):
    """What becomes of a message that was fetched."""

    SHARED = "handed out beside others"
    ALONE = "handed out with nothing else in flight"
    NONE = "given up"


_SHARED: Final = Chance.SHARED


def chance(most: int, attempt: int, failures: int | None, ended_alone: int) -> Chance:
    """Return what becomes of delivery number `attempt` of at most `most`.

    `failures` is how many deliveries before it ended by a nack; None where that is not known:
    then all did. `ended_alone` is how many were alone and ended by themselves, since the last nack.
    """
    if failures is None:
        return Chance.NONE if attempt > most else _SHARED
    if attempt < most:
        return _SHARED
    if failures >= most or ended_alone >= TIMES_ALONE:
        return Chance.NONE
    return Chance.ALONE if attempt - 1 > failures else _SHARED
