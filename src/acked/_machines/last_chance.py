"""Whether a message is handed out, handed out alone, or given up.

Brokers count a delivery when a message is fetched. A process that dies while it handles one takes
all that it had fetched with it, and each of these is charged. So the count alone must never bury:

1. What its own handlers have failed often enough, each time by a nack, is given up.
2. What has one delivery left, and was charged for any other end of a lease, gets it alone.
3. What comes again from having been alone, by another end than a nack, has ended its process by
   itself, and is given up.
"""

import enum
from typing import Final

__all__ = ("Chance", "chance")


class Chance(enum.Enum):
    """What becomes of a message that was fetched."""

    SHARED = "handed out beside others"
    ALONE = "handed out with nothing else in flight"
    NONE = "given up"


_SHARED: Final = Chance.SHARED


def chance(most: int, attempt: int, failures: int | None, *, was_alone: bool) -> Chance:
    """Return what becomes of delivery number `attempt` of at most `most`.

    `failures` is how many deliveries before it ended by a nack; None where that is not known:
    then all did. `was_alone` says that the last one ended by neither a nack nor a release, with
    nothing else in flight.
    """
    if failures is None:
        return Chance.NONE if attempt > most else _SHARED
    if was_alone or failures >= most:
        return Chance.NONE
    return Chance.ALONE if attempt >= most and attempt - 1 > failures else _SHARED
