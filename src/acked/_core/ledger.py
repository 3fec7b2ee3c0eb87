"""The account of what a subscription owes: fetched from the layer and not yet settled.

One `Debt` for each message from the moment it was fetched. It is the engine's side; the user
holds a `Delivery` that points to it, so a delivery that is forgotten can be noticed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from acked._core.signal import Signal
from acked._machines.settlement import CONFIRMED, State, after
from acked.types import Leased, Outcome, Settlement, Verb

__all__ = ("Debt", "Ledger")

_ACK: Final = Verb.ACK
_ACKING: Final = State.ACKING
_ACKED: Final = CONFIRMED[_ACKING]


class Debt(Settlement, frozen=False, eq=False, gc=False, kw_only=True):  # type: ignore[misc]
    """One message owed, and where its settlement stands. Never part of a reference cycle.

    It is itself the ack of its message, as layers take it: millions need no object more for that.
    """

    leased: Leased
    size: int
    """Bytes of its body."""
    state: State = State.HELD


class Ledger:
    """All open debts of one subscription, bounded in messages and in bytes of their bodies.

    `in_flight` is never exceeded. `in_flight_bytes` can be, by what one fetch brings beyond
    expectation: no broker tells the size of what it is about to send, so a fetch is sized by the
    largest body seen so far.
    """

    def __init__(self, in_flight: int, in_flight_bytes: int) -> None:
        self.open: set[Debt] = set()
        self.open_bytes = 0
        self.fetched = 0
        self.unseen = 0
        """Fetched, and gone before the user saw them: released or lost while buffered."""
        self.closed = dict.fromkeys(State, 0)
        """Debts that ended in each state after the user had seen them."""
        self.released = 0
        self.freed = Signal()
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        self._largest = 1

    def room(self) -> int:
        """Return how many more messages may be fetched now."""
        messages = self._in_flight - len(self.open)
        bytes_left = self._in_flight_bytes - self.open_bytes
        if messages <= 0 or bytes_left <= 0:
            return 0
        return min(messages, max(1, bytes_left // self._largest))

    def worth_fetching(self, room: int) -> bool:
        """Say whether `room` is enough for a fetch while the reader still has something to read."""
        return room * 2 >= self._in_flight

    def admit(self, batch: Sequence[Leased]) -> list[Debt]:
        """Open a debt for each of `batch`, in the same order."""
        debts = [
            Debt(leased.token, _ACK, leased=leased, size=len(leased.record.body))
            for leased in batch
        ]
        sizes = [debt.size for debt in debts]
        self.open.update(debts)
        self.open_bytes += sum(sizes)
        self._largest = max(self._largest, *sizes)
        self.fetched += len(debts)
        return debts

    def settled(self, debts: list[Debt], outcomes: Sequence[Outcome]) -> dict[Debt, Outcome]:
        """Move each debt on by the answer to its settlement, and close those that are done.

        Returns those whose settlement was not carried out. One with an UNKNOWN answer stays open.
        """
        if self._are_all_acked(debts, outcomes):
            return {}
        troubles: dict[Debt, Outcome] = {}
        for debt, outcome in zip(debts, outcomes, strict=True):
            # What comes of taking one back is nobody's trouble: it comes again either way.
            if outcome >= Outcome.LOST and debt.state is not State.RETURNING:
                troubles[debt] = outcome
            debt.state = state = after(debt.state, outcome)
            self.closed[state] += 1
        self._close([debt for debt in debts if debt.state is not State.HELD])
        return troubles

    def _are_all_acked(self, debts: list[Debt], outcomes: Sequence[Outcome]) -> bool:
        """Do what `settled` does where all are acks that were confirmed: whole lists at a time."""
        count = len(debts)
        if outcomes.count(Outcome.CONFIRMED) < count:
            return False
        if [debt.state for debt in debts].count(_ACKING) < count:
            return False
        for debt in debts:
            debt.state = _ACKED
        self.closed[_ACKED] += count
        self._close(debts)
        return True

    def lose(self, debts: Iterable[Debt]) -> None:
        """Close debts whose lease ended."""
        lost = [debt for debt in debts if debt in self.open]
        for debt in lost:
            debt.state = State.LOST
        self.closed[State.LOST] += len(lost)
        self._close(lost)

    def give_back(self, debts: Iterable[Debt], *, seen: bool) -> None:
        """Close debts that went back to the layer without a settlement of the user's."""
        returned = list(debts)
        for debt in returned:
            debt.state = State.LOST
        if seen:
            self.released += len(returned)
        else:
            self.unseen += len(returned)
        self._close(returned)

    def _close(self, debts: list[Debt]) -> None:
        self.open.difference_update(debts)
        self.open_bytes -= sum([debt.size for debt in debts])
        self.freed.set()
