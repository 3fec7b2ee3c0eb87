"""The account of what a subscription owes: fetched from the layer and not yet settled.

One `InFlight` for each message from the moment it was fetched. It is the engine's side; the user
holds a `Delivery` that points to it, so a delivery that is forgotten can be noticed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from acked._core.notify import Notify
from acked._machines.record_size import sizes_of
from acked._machines.settlement import CONFIRMED, State, after
from acked.types import Leased, Outcome, Reply, Settlement, Verb

__all__ = ("InFlight", "InFlightTracker", "LeaseSpan")

REMEMBERED: Final = 64
"""Messages after which a large one counts for nothing any more."""

_ACK: Final = Verb.ACK
_ACKING: Final = State.ACKING
_ACKED: Final = CONFIRMED[_ACKING]


class LeaseSpan(msgspec.Struct, frozen=True, gc=False):
    """What all messages of one fetch share until one is renewed: moments on the engine's clock."""

    since: float
    """When they were fetched."""
    until: float
    """Until when they are known to be ours."""


class InFlight(Settlement, frozen=False, eq=False, gc=False, kw_only=True):  # type: ignore[misc]
    """One message owed, and where its settlement stands. Never part of a reference cycle.

    It is itself the ack of its message, as layers take it: millions need no object more for that.
    """

    leased: Leased
    size: int
    """Bytes that its record takes, about."""
    lease: LeaseSpan
    state: State = State.HELD


class InFlightTracker:
    """All open entries of one subscription, bounded in messages and in bytes.

    `in_flight` is never exceeded. `in_flight_bytes` can be, by what one fetch brings beyond
    expectation: no broker tells the size of what it is about to send, so a fetch is sized by the
    largest message of late.
    """

    def __init__(self, in_flight: int, in_flight_bytes: int) -> None:
        self.open: set[InFlight] = set()
        self.open_bytes: int = 0
        self.fetched: int = 0
        self.unseen: int = 0
        """Fetched, and gone before the user saw them: given back, lost, dead-lettered."""
        self.closed: dict[State, int] = dict.fromkeys(State, 0)
        """Those that ended in each state after the user had seen them."""
        self.released: int = 0
        self.hidden: set[InFlight] = set()
        """Open, and never shown to the user: the engine sends them to the dead letters."""
        self.dead_lettered: int = 0
        """How many of these went there."""
        self.set_aside: int = 0
        """And how many were acknowledged: beyond the bounds, without a topic for dead letters."""
        self.expired: int = 0
        """And how many so, for their time was over."""
        self.freed: Notify = Notify()
        self.stall: float = 0.0
        """Seconds by which the event loop was late for the last renewal: something blocks it."""
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        # Before any has come each is taken for a large one, so that the first fetch is bounded.
        self._large = max(1, in_flight_bytes // REMEMBERED)

    def free_slots(self) -> int:
        """Return how many more messages may be fetched now."""
        messages = self._in_flight - len(self.open)
        bytes_left = self._in_flight_bytes - self.open_bytes
        if messages <= 0 or bytes_left <= 0:
            return 0
        return min(messages, max(1, bytes_left // self._large))

    def add(self, batch: Sequence[Leased], lease: LeaseSpan) -> list[InFlight]:
        """Open an entry for each of `batch`, in the same order."""
        sizes = sizes_of([leased.record for leased in batch])
        entries = [
            InFlight(leased.token, _ACK, leased=leased, size=size, lease=lease)
            for leased, size in zip(batch, sizes, strict=True)
        ]
        self.open.update(entries)
        self.open_bytes += sum(sizes)
        # Forgotten by and by: one large message must not make every later fetch a small one.
        faded = self._large - self._large * len(sizes) // REMEMBERED
        self._large = max(*sizes, faded, 1)
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
            entry.state = after(entry.state, outcome)
            if entry.state is not State.HELD:
                self._close([entry], entry.state)
        return failures

    def _are_all_acked(self, entries: list[InFlight], answers: Sequence[Reply]) -> bool:
        """Do what `settled` does where all are acks that were confirmed: whole lists at a time."""
        count = len(entries)
        if answers.count(Outcome.CONFIRMED) < count or not self.hidden.isdisjoint(entries):
            return False
        if [entry.state for entry in entries].count(_ACKING) < count:
            return False
        for entry in entries:
            entry.state = _ACKED
        self.closed[_ACKED] += count
        self.open.difference_update(entries)
        self.open_bytes -= sum([entry.size for entry in entries])
        self.freed.set()
        return True

    def expire(self, entries: Iterable[InFlight], *, seen: bool) -> None:
        """Close entries whose lease ended."""
        self._close(entries, State.LOST if seen else None)

    def give_back(self, entries: Iterable[InFlight], *, seen: bool) -> None:
        """Close entries that went back to the layer without a settlement of the user's."""
        closed = self._close(entries, None)
        if seen:
            self.released += closed
            self.unseen -= closed

    def _close(self, entries: Iterable[InFlight], state: State | None) -> int:
        """Close those that are open and count them: as ended in `state`, or None as unseen."""
        closing = [entry for entry in entries if entry in self.open]
        for entry in closing:
            entry.state = State.LOST if state is None else state
            if entry in self.hidden:
                self.dead_lettered += state is State.REJECTED
                if state is State.ACKED:
                    is_expired = entry.leased.is_expired
                    self.expired += is_expired
                    self.set_aside += not is_expired
                self.unseen += 1
            elif state is None:
                self.unseen += 1
            else:
                self.closed[state] += 1
        self.open.difference_update(closing)
        self.hidden.difference_update(closing)
        self.open_bytes -= sum([entry.size for entry in closing])
        self.freed.set()
        return len(closing)
