"""The account of what a subscription owes: fetched from the layer and not yet settled.

One `InFlight` for each message from the moment it was fetched. It is the engine's side; the user
holds a `Delivery` that points to it, so a delivery that is forgotten can be noticed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from acked._core.notify import Notify
from acked._machines.settlement import CONFIRMED, State, after
from acked.types import Leased, Outcome, Reply, Settlement, Verb

__all__ = ("InFlight", "InFlightTracker")

_ACK: Final = Verb.ACK
_ACKING: Final = State.ACKING
_ACKED: Final = CONFIRMED[_ACKING]


class InFlight(Settlement, frozen=False, eq=False, gc=False, kw_only=True):  # type: ignore[misc]
    """One message owed, and where its settlement stands. Never part of a reference cycle.

    It is itself the ack of its message, as layers take it: millions need no object more for that.
    """

    leased: Leased
    size: int
    """Bytes of its body."""
    state: State = State.HELD


class InFlightTracker:
    """All open entries of one subscription, bounded in messages and in bytes of their bodies.

    `in_flight` is never exceeded. `in_flight_bytes` can be, by what one fetch brings beyond
    expectation: no broker tells the size of what it is about to send, so a fetch is sized by the
    largest body seen so far.
    """

    def __init__(self, in_flight: int, in_flight_bytes: int) -> None:
        self.open: set[InFlight] = set()
        self.open_bytes = 0
        self.fetched = 0
        self.unseen = 0
        """Fetched, and gone before the user saw them: released or lost while buffered."""
        self.closed = dict.fromkeys(State, 0)
        """Those that ended in each state after the user had seen them."""
        self.released = 0
        self.freed = Notify()
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        self._largest = 1

    def free_slots(self) -> int:
        """Return how many more messages may be fetched now."""
        messages = self._in_flight - len(self.open)
        bytes_left = self._in_flight_bytes - self.open_bytes
        if messages <= 0 or bytes_left <= 0:
            return 0
        return min(messages, max(1, bytes_left // self._largest))

    def should_fetch(self, free_slots: int) -> bool:
        """Say whether to fetch while the reader still has something to read."""
        return free_slots * 2 >= self._in_flight

    def add(self, batch: Sequence[Leased]) -> list[InFlight]:
        """Open an entry for each of `batch`, in the same order."""
        entries = [
            InFlight(leased.token, _ACK, leased=leased, size=len(leased.record.body))
            for leased in batch
        ]
        sizes = [entry.size for entry in entries]
        self.open.update(entries)
        self.open_bytes += sum(sizes)
        self._largest = max(self._largest, *sizes)
        self.fetched += len(entries)
        return entries

    def settled(self, entries: list[InFlight], answers: Sequence[Reply]) -> dict[InFlight, Reply]:
        """Move each entry on by the answer to its settlement, and close those that are done.

        Returns those whose settlement was not carried out. One with an UNKNOWN answer stays open.
        """
        if self._are_all_acked(entries, answers):
            return {}
        failures: dict[InFlight, Reply] = {}
        for entry, answer in zip(entries, answers, strict=True):
            outcome = answer if isinstance(answer, Outcome) else Outcome.UNKNOWN
            # What comes of taking one back is nobody's trouble: it comes again either way.
            if outcome >= Outcome.LOST and entry.state is not State.RETURNING:
                failures[entry] = answer
            entry.state = state = after(entry.state, outcome)
            self.closed[state] += 1
        self._close([entry for entry in entries if entry.state is not State.HELD])
        return failures

    def _are_all_acked(self, entries: list[InFlight], answers: Sequence[Reply]) -> bool:
        """Do what `settled` does where all are acks that were confirmed: whole lists at a time."""
        count = len(entries)
        if answers.count(Outcome.CONFIRMED) < count:
            return False
        if [entry.state for entry in entries].count(_ACKING) < count:
            return False
        for entry in entries:
            entry.state = _ACKED
        self.closed[_ACKED] += count
        self._close(entries)
        return True

    def expire(self, entries: Iterable[InFlight]) -> None:
        """Close entries whose lease ended."""
        lost = [entry for entry in entries if entry in self.open]
        for entry in lost:
            entry.state = State.LOST
        self.closed[State.LOST] += len(lost)
        self._close(lost)

    def give_back(self, entries: Iterable[InFlight], *, seen: bool) -> None:
        """Close entries that went back to the layer without a settlement of the user's."""
        returned = list(entries)
        for entry in returned:
            entry.state = State.LOST
        if seen:
            self.released += len(returned)
        else:
            self.unseen += len(returned)
        self._close(returned)

    def _close(self, entries: list[InFlight]) -> None:
        self.open.difference_update(entries)
        self.open_bytes -= sum([entry.size for entry in entries])
        self.freed.set()
