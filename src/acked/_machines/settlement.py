"""One delivery's way from held to settled, as a table.

Rules:

1. The first settlement wins. While it is on its way, and after it was confirmed, the same one
   again joins it or is a no-op; a contradicting one is `AlreadySettled`.
2. A settlement whose answer never came leaves the delivery held: it may be settled again, until
   the engine takes it back. From then on it is lost to the user, whatever becomes of that.
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

__all__ = ("BEGIN", "CONFIRMED", "State", "Step", "after", "begin")


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
    RETURNING = 8
    """The engine takes it back."""


class Step(enum.IntEnum):
    """What the engine has to do for a settlement that is legal."""

    SEND = 0
    """Hand it to the layer."""
    JOIN = 1
    """The same one is on its way: wait for its answer."""
    NOTHING = 2
    """The same one was confirmed."""


_ON_ITS_WAY: Final = (State.ACKING, State.NACKING, State.REJECTING)
_GONE: Final = (State.RETURNING, State.LOST)
_SETTLED: Final = (State.ACKED, State.NACKED, State.REJECTED)

BEGIN: Final[dict[Verb, dict[State, tuple[State, Step]]]] = {
    Verb.ACK: {
        State.HELD: (State.ACKING, Step.SEND),
        State.ACKING: (State.ACKING, Step.JOIN),
        State.ACKED: (State.ACKED, Step.NOTHING),
    },
    Verb.NACK: {
        State.HELD: (State.NACKING, Step.SEND),
        State.NACKING: (State.NACKING, Step.JOIN),
        State.NACKED: (State.NACKED, Step.NOTHING),
    },
    Verb.REJECT: {
        State.HELD: (State.REJECTING, Step.SEND),
        State.REJECTING: (State.REJECTING, Step.JOIN),
        State.REJECTED: (State.REJECTED, Step.NOTHING),
    },
}

CONFIRMED: Final[dict[State, State]] = dict(zip(_ON_ITS_WAY, _SETTLED, strict=True))

_TAKEN_BACK: Final = {State.RETURNING: State.LOST}

AFTER: Final[dict[Outcome, dict[State, State]]] = {
    Outcome.CONFIRMED: CONFIRMED | _TAKEN_BACK,
    Outcome.SENT: CONFIRMED | _TAKEN_BACK,
    Outcome.LOST: dict.fromkeys(_ON_ITS_WAY, State.LOST) | _TAKEN_BACK,
    Outcome.UNKNOWN: dict.fromkeys(_ON_ITS_WAY, State.HELD) | _TAKEN_BACK,
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

    Raises `LeaseLost` in LOST and RETURNING, and `AlreadySettled` for a contradicting verb.
    """
    try:
        return BEGIN[verb][state]
    except KeyError:
        pass
    if state in _GONE:
        raise LeaseLost(
            f"cannot {verb.name.lower()}: the lease of this delivery has ended, the message may be "
            "another consumer's now; keep the lease longer or handle the message faster"
        )
    raise AlreadySettled(f"cannot {verb.name.lower()}: this delivery was {_NAMES[state]} before")


def after(state: State, outcome: Outcome) -> State:
    """Return the state once the layer answered `outcome`; a state that awaited none is kept.

    (A lease can be found lost by the renewal while its settlement is on its way: LOST stays.)
    """
    return AFTER[outcome].get(state, state)
