"""How the demo's numbers come about: from receipts, ledgers and a last look, never from the engine.

- *accepted*: receipts that `publish` returned for orders; the poison order is none of them.
- *confirmed*: orders with an `acked` line in some ledger: `ack()` has returned there.
- *unheard*: a worker had called `ack()`, and no line says what came of it, because the worker was
  killed or its connection broke; nobody got the order again, and the last look found that the
  group is not owed it. So the broker had said yes, and the worker did not hear it. An order that
  the killed worker had begun, without an `asked` line, cannot be one: if it does not come again,
  it is lost.
- *acked*: confirmed or unheard, and not owed.
- *owed*: the last look found it still to be delivered.
- *dead letters*: what arrived at their topic, the poison order among them; *innocent* are those of
  orders. There must be none: what killed a worker was not their fault.
- *lost*: accepted, neither acked nor owed, nor among the dead letters.
- *redelivered*: deliveries with an attempt above 1. *duplicates*: orders that were begun more
  than once, so that their work may be done twice.
- *broken promises*: orders that were begun, or found owed, after an `ack()` of theirs had
  returned. There must be none.
- *recovery*: from SIGKILL until the last order that the killed worker had in work was begun by
  another one. What it had only fetched is not told from what the poison order's victims had.
"""

from array import array
from collections import defaultdict
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from acked.demo.ledger import Entry, Stage

__all__ = ("Report", "Tally")

NANOSECONDS: Final = 1e9
MANY: Final = 255
"""An order's deliveries are counted in a byte, up to here."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo says in the end; `recovery_seconds` is None if nothing was to be recovered."""

    accepted: int
    acked: int
    redelivered: int
    duplicates: int
    lost: int
    recovery_seconds: float | None
    dead_letters: int
    innocent_dead_letters: int


class Begun(NamedTuple):
    """A delivery that a worker has begun and that nothing came of yet."""

    moment: int
    is_asked: bool


class Tally:
    """Adds up what is read from the ledgers; orders are numbered from 1 to `count`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.accepted: int = 0
        self.confirmed: int = 0
        self.last_moment: int = 0
        self._redelivered = 0
        self._not_begun = count
        self._begun = bytearray(count + 1)
        self._begun_at = array("q", bytes(8 * (count + 1)))
        self._acked_at = array("q", bytes(8 * (count + 1)))
        self._open: defaultdict[int, dict[tuple[int, int], Begun]] = defaultdict(dict)
        self._victim: int | None = None
        self._killed_at = 0
        self._begun_since: dict[int, int] = {}
        """When an order was begun first by another worker than the killed one, after that."""
        self._broken: set[int] = set()

    def note(self, worker: int, entry: Entry) -> None:
        """Count one line of a worker's ledger."""
        self.note_life(entry.moment)
        if entry.stage is Stage.BEGAN:
            self._note_begun(worker, entry)
            return
        # Not by the number alone: with a lease too short a worker gets its own orders again.
        delivery = (entry.number, entry.attempt)
        begun = self._open[worker].pop(delivery, Begun(entry.moment, is_asked=False))
        if entry.stage is Stage.ASKED:
            self._open[worker][delivery] = begun._replace(is_asked=True)
        elif entry.stage is Stage.ACKED:
            self._note_acked(entry)

    def note_kill(self, worker: int, moment: int) -> None:
        """Note that a worker was killed, and when; its last lines may be noted afterwards."""
        self._victim, self._killed_at = worker, moment
        self.note_life(moment)

    def note_life(self, moment: int) -> None:
        """Note that something happened, so that silence begins anew."""
        self.last_moment = max(self.last_moment, moment)

    def in_work(self, worker: int) -> int:
        """Return how many deliveries a worker has begun that nothing came of yet."""
        return len(self._open[worker])

    @property
    def not_begun(self) -> int:
        """How many orders no worker has begun yet."""
        return self._not_begun

    def report(self, owed: Collection[int], dead_letters: Collection[int] = ()) -> Report:
        """Return the result, given which orders the last look found owed, and what was buried."""
        innocent = {number for number in dead_letters if number <= self._count}
        disproved = {number for number in owed if self._acked_at[number]}
        self._broken |= disproved
        acked = self.confirmed - len(disproved) + len(self.unheard.difference(owed, innocent))
        unacked = {number for number in innocent if not self._acked_at[number]}
        return Report(
            accepted=self.accepted,
            acked=acked,
            redelivered=self._redelivered,
            duplicates=sum(1 for times in self._begun if times > 1),
            lost=self.accepted - acked - len(unacked.union(owed)),
            recovery_seconds=self._recovery(),
            dead_letters=len(dead_letters),
            innocent_dead_letters=len(innocent),
        )

    @property
    def unheard(self) -> set[int]:
        """Orders that `ack()` was called for without an answer, and that nobody got again."""
        return {
            number
            for left in self._open.values()
            for (number, _), begun in left.items()
            if begun.is_asked
            and begun.moment == self._begun_at[number]
            and not self._acked_at[number]
        }

    @property
    def recovered(self) -> int:
        """How many orders that the killed worker had in work others have begun."""
        return len(self._recovered_at)

    @property
    def _recovered_at(self) -> list[int]:
        if self._victim is None:
            return []
        held = {number for number, _ in self._open[self._victim]}
        return [moment for number, moment in self._begun_since.items() if number in held]

    @property
    def broken_promises(self) -> int:
        """How many orders came again after an `ack()` of theirs had returned."""
        return len(self._broken)

    def _note_begun(self, worker: int, entry: Entry) -> None:
        number, moment = entry.number, entry.moment
        self._not_begun -= not self._begun[number]
        self._begun[number] = min(self._begun[number] + 1, MANY)
        self._begun_at[number] = max(self._begun_at[number], moment)
        self._open[worker][number, entry.attempt] = Begun(moment, is_asked=False)
        self._look_for_broken_promise(number)
        self._redelivered += entry.attempt > 1
        is_another = self._victim is not None and worker != self._victim
        if is_another and moment > self._killed_at:
            self._begun_since.setdefault(number, moment)

    def _note_acked(self, entry: Entry) -> None:
        number = entry.number
        self.confirmed += not self._acked_at[number]
        self._acked_at[number] = self._acked_at[number] or entry.moment
        self._look_for_broken_promise(number)

    def _look_for_broken_promise(self, number: int) -> None:
        # Ledgers are read one after the other, so either line may be read first.
        if 0 < self._acked_at[number] < self._begun_at[number]:
            self._broken.add(number)

    def _recovery(self) -> float | None:
        moments = self._recovered_at
        return round((max(moments) - self._killed_at) / NANOSECONDS, 3) if moments else None
