"""One delivery's way from held to settled, as a table.

Rules:

1. The first settlement wins. While it is on its way, and after it was confirmed, the same one
   again joins it or is a no-op; a contradicting one is `AlreadySettled`.
2. A settlement whose answer never came leaves the delivery held: it may be settled again.
3. Once the lease is lost nothing can be settled any more: `LeaseLost`.
4. An illegal step raises and changes nothing: these are functions, the caller keeps the state.

```text
            ack            confirmed
   HELD ----------> ACKING ----------> ACKED        (nack, reject likewise)
    | ^               |  |
    | +---------------+  +-----------> LOST
    |     unknown           lost        ^
    +-----------------------------------+
                  lost
```
"""

import enum
from typing import Final

from acked.errors import AlreadySettled, LeaseLost
from acked.types import Outcome, Verb

__all__ = ("State", "Step", "after", "begin")


class State(enum.IntEnum):
    """Where a delivery is."""

    HELD = 0
    ACKING = 1
    NACKING = 2
    REJECTING = 3
    ACKED = 4
    NACKED = 5
    REJECTED = 6
    LOST = 7


class Step(enum.IntEnum):
    """What the engine has to do for a settlement that is legal."""

    SEND = 0
    """Hand it to the layer."""
    JOIN = 1
    """The same one is on its way: wait for its answer."""
    NOTHING = 2
    """The same one was confirmed."""


_ON_ITS_WAY: Final = (State.ACKING, State.NACKING, State.REJECTING)
_SETTLED: Final = (State.ACKED, State.NACKED, State.REJECTED)

BEGIN: Final[dict[tuple[State, Verb], tuple[State, Step]]] = {
    (State.HELD, Verb.ACK): (State.ACKING, Step.SEND),
    (State.HELD, Verb.NACK): (State.NACKING, Step.SEND),
    (State.HELD, Verb.REJECT): (State.REJECTING, Step.SEND),
    (State.ACKING, Verb.ACK): (State.ACKING, Step.JOIN),
    (State.NACKING, Verb.NACK): (State.NACKING, Step.JOIN),
    (State.REJECTING, Verb.REJECT): (State.REJECTING, Step.JOIN),
    (State.ACKED, Verb.ACK): (State.ACKED, Step.NOTHING),
    (State.NACKED, Verb.NACK): (State.NACKED, Step.NOTHING),
    (State.REJECTED, Verb.REJECT): (State.REJECTED, Step.NOTHING),
}

AFTER: Final[dict[tuple[State, Outcome], State]] = {
    **{
        (way, outcome): settled
        for way, settled in zip(_ON_ITS_WAY, _SETTLED, strict=True)
        for outcome in (Outcome.CONFIRMED, Outcome.SENT)
    },
    **{(way, Outcome.LOST): State.LOST for way in _ON_ITS_WAY},
    **{(way, Outcome.UNKNOWN): State.HELD for way in _ON_ITS_WAY},
}

_NAMES: Final = {
    State.ACKING: "acked",
    State.ACKED: "acked",
    State.NACKING: "nacked",
    State.NACKED: "nacked",
    State.REJECTING: "rejected",
    State.REJECTED: "rejected",
}


def begin(state: State, verb: Verb) -> tuple[State, Step]:
    """Return the state after asking for `verb`, and what to do for it.

    Raises `LeaseLost` in LOST and `AlreadySettled` for a contradicting verb.
    """
    try:
        return BEGIN[state, verb]
    except KeyError:
        pass
    if state is State.LOST:
        raise LeaseLost(
            f"cannot {verb.name.lower()}: the lease of this delivery has ended, the message may be "
            "another consumer's now; keep the lease longer or handle the message faster"
        )
    raise AlreadySettled(f"cannot {verb.name.lower()}: this delivery was {_NAMES[state]} before")


def after(state: State, outcome: Outcome) -> State:
    """Return the state once the layer answered `outcome`; a state that awaited none is kept.

    (A lease can be found lost by the renewal while its settlement is on its way: LOST stays.)
    """
    return AFTER.get((state, outcome), state)
