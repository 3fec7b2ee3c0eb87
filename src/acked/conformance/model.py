"""The reference model: what may be true of each message, and what may therefore happen next.

Rules:

1. For each group a message is in a *set of cases*: one where everything was answered, several
   after a publish or a settlement whose answer never came. What is seen afterwards narrows the
   set; a sight that leaves no case is a broken promise, `Illegal`.
2. A case is ready (from a moment on: a delayed nack), held (until a moment: a lease that nobody
   renews), settled, dead (settled, with a copy in the dead letters), or absent (never accepted).
3. What is held counts as charged with the attempt; a release takes the charge back.
4. When a lease is over the message is ready, and yet its holder's settlement may still succeed,
   as long as nobody else has got it: both are legal, and what is answered decides.
5. Whether a publish was carried out is one fact for all groups.
6. `fragile`: leases may end at any moment (a faulty network, leases bound to connections). Then
   a stale delivery may be seen, whose lease is another's by now; but it can never be settled.
   `exact`: attempts are known to the last; otherwise they are known to rise.
7. Where leases are connections, a holder that leaves takes its delays along (what it had nacked may
   come at once); where acks are not confirmed, its acks, too.

Pure: no clock, no loop; `now` is passed in.
"""

import enum
from collections.abc import Iterable

import msgspec

from acked.types import Capabilities, Verb

__all__ = ("NEVER", "Answer", "Case", "Illegal", "Model", "Where")

NEVER = float("inf")


class Illegal(AssertionError):
    """The layer did what no correct layer may do."""


class Where(enum.Enum):
    """The places that a message can be in, for one group."""

    READY = "ready"
    HELD = "held"
    SETTLED = "settled"
    DEAD = "dead"
    ABSENT = "absent"


class Answer(enum.Enum):
    """What the holder was told of its settlement."""

    DONE = "done"
    LOST = "lost"
    UNKNOWN = "unknown"


class Case(msgspec.Struct, frozen=True):
    """One thing that may be true of a message; `lease` numbers the delivery that holds it."""

    where: Where
    charged: int = 0
    free_at: float = 0.0
    holder: str = ""
    lease: int = 0

    def free(self, now: float) -> bool:
        """Say whether it can be delivered at `now`."""
        return self.where in {Where.READY, Where.HELD} and self.free_at <= now

    def after(self, verb: Verb, free_at: float, *, dead_lettered: bool) -> "Case":
        """Return what is true once the settlement of this held case was carried out."""
        if verb is Verb.NACK:
            return Case(Where.READY, self.charged, free_at, self.holder)
        dead = verb is Verb.REJECT and dead_lettered
        return Case(Where.DEAD if dead else Where.SETTLED, self.charged, holder=self.holder)

    def __str__(self) -> str:
        words = self.where.value
        if self.where is Where.HELD:
            words += f" by {self.holder} (lease {self.lease})"
        if self.free_at and self.free_at != NEVER:
            words += f" until {self.free_at:.3f}"
        return f"{words}, delivered {self.charged} times"


Cases = frozenset[Case]


class Model:
    """What may be true of all messages of one topic, for each of its groups."""

    def __init__(
        self,
        groups: Iterable[str],
        capabilities: Capabilities,
        *,
        fragile: bool = False,
    ) -> None:
        self.exact: bool = not fragile
        self.fragile: bool = fragile
        self._counts = capabilities.attempts
        self._confirmed = capabilities.confirmed_ack
        self._keeps_delays = capabilities.lease != "connection"
        self._groups: dict[str, dict[str, Cases]] = {group: {} for group in groups}
        self._leases = 0

    def published(self, message: str, *, certain: bool = True) -> None:
        """Owe `message` to every group; not `certain`: or to none."""
        ready = Case(Where.READY)
        cases = frozenset({ready} if certain else {ready, Case(Where.ABSENT)})
        for messages in self._groups.values():
            messages[message] = cases

    def delivered(
        self, group: str, message: str, attempt: int, holder: str, now: float, until: float = NEVER
    ) -> int:
        """Note a delivery and return the number of its lease; `Illegal` if it may not be."""
        cases = self._of(group, message, f"it was delivered to {holder}")
        counted = {case for case in cases if self._may_count(case, attempt)}
        ready = any(case.free(now) for case in counted)
        # Stale: leased before somebody else got it, handed out when nobody knew that yet.
        others = {case for case in counted if not case.free(now)} if self.fragile else set[Case]()
        if not ready and not others - {Case(Where.ABSENT)}:
            raise self._illegal(
                group, message, f"it was delivered to {holder} as attempt {attempt} at {now:.3f}"
            )
        for messages in self._groups.values():  # seen, so it was accepted: for every group
            exists = (case for case in messages[message] if case.where is not Where.ABSENT)
            messages[message] = frozenset(exists)
        self._leases += 1
        places = {Where.HELD} if self._keeps_delays else {Where.HELD, Where.READY}
        valid = ready or any(case.where in places for case in others)
        held = {Case(Where.HELD, attempt, until, holder, self._leases)} if valid else set[Case]()
        kept = {case for case in others if case.where is not Where.ABSENT}
        self._groups[group][message] = frozenset(held | kept)
        return self._leases

    def settled(
        self,
        group: str,
        message: str,
        lease: int,
        verb: Verb,
        answer: Answer,
        now: float,
        *,
        free_at: float = 0.0,
        dead_lettered: bool = False,
        again: bool = False,
    ) -> None:
        """Note what the holder of `lease` was answered; `Illegal` if no case allows it.

        `free_at` is the moment before which a nack may not bring it again, `dead_lettered` whether
        a rejection makes a dead letter, `again` whether the same was asked for before: then the
        answer may be to that.
        """
        cases = self._of(group, message, f"its lease {lease} was settled")
        mine = {c for c in cases if c.where is Where.HELD and c.lease == lease}
        carried_out = {case.after(verb, free_at, dead_lettered=dead_lettered) for case in mine}
        legal: Cases | set[Case]
        if answer is Answer.DONE:
            legal = carried_out | (cases - mine) if again else carried_out
        elif answer is Answer.UNKNOWN:
            legal = cases | carried_out
        else:
            ended = {c for c in mine if self.fragile or c.free_at <= now}
            legal = (cases - mine) | {Case(Where.READY, c.charged) for c in ended}
        if not legal:
            raise self._illegal(
                group, message, f"the {verb.name} of lease {lease} was answered {answer.name}"
            )
        self._groups[group][message] = frozenset(legal)

    def extended(self, group: str, message: str, lease: int, until: float) -> None:
        """Note that the lease was extended: only its holder's can be."""
        cases = self._of(group, message, f"its lease {lease} was extended")
        mine = {c for c in cases if c.where is Where.HELD and c.lease == lease}
        if not mine:
            raise self._illegal(group, message, f"its lease {lease} was extended")
        longer = {msgspec.structs.replace(case, free_at=until) for case in mine}
        self._groups[group][message] = frozenset(longer)

    def left(self, holder: str, *, charge: bool) -> None:
        """Give back what `holder` had, and with it whatever was in nobody's memory but its own."""
        for messages in self._groups.values():
            for message, cases in messages.items():
                changed: set[Case] = set()
                for case in cases:
                    changed |= self._without(holder, case, charge=charge)
                messages[message] = frozenset(changed)

    def disturbed(self, *, ends_leases: bool) -> None:
        """Note that connections broke: leases and unconfirmed acks may have gone with them."""
        self.exact = False
        self.fragile = self.fragile or ends_leases
        for messages in self._groups.values():
            for message, cases in messages.items():
                messages[message] = cases | {again for c in cases for again in self._undone(c)}

    def due(self, group: str, now: float) -> set[str]:
        """Return the messages that are ready in every case: they must come."""
        messages = self._groups[group].items()
        return {message for message, cases in messages if all(c.free(now) for c in cases)}

    def dead(self, group: str) -> dict[str, bool]:
        """Return what may be in the group's dead letters: True where it must be."""
        found: dict[str, bool] = {}
        for message, cases in self._groups[group].items():
            if any(case.where is Where.DEAD for case in cases):
                found[message] = all(case.where is Where.DEAD for case in cases)
        return found

    def quiet_at(self) -> float:
        """Return the moment at which every delay that is known is over."""
        delays = [
            case.free_at
            for messages in self._groups.values()
            for cases in messages.values()
            for case in cases
            if case.where in {Where.READY, Where.HELD} and case.free_at != NEVER
        ]
        return max(delays, default=0.0)

    def describe(self, group: str, message: str) -> str:
        """Return in words what may be true of `message`."""
        return " or ".join(sorted(map(str, self._groups[group].get(message, ())))) or "unknown"

    def _undone(self, case: Case) -> set[Case]:
        """Return what an ack that was never confirmed may turn out to be."""
        settled = case.where in {Where.SETTLED, Where.DEAD}
        return {Case(Where.READY, case.charged)} if settled and not self._confirmed else set()

    def _may_count(self, case: Case, attempt: int) -> bool:
        if not self._counts or self.fragile:
            return attempt >= 1
        return attempt == case.charged + 1 if self.exact else attempt > case.charged

    def _without(self, holder: str, case: Case, *, charge: bool) -> set[Case]:
        """Return what may be true once `holder` has left where `case` was true before."""
        if case.holder != holder or case.where is Where.ABSENT:
            return {case}
        if case.where is Where.HELD:
            return {Case(Where.READY, case.charged if charge else case.charged - 1)}
        if case.where is Where.READY and not self._keeps_delays:
            return {case, Case(Where.READY, case.charged)}
        return {case} | self._undone(case)

    def _of(self, group: str, message: str, event: str) -> Cases:
        found = self._groups[group].get(message)
        if found is None:
            raise Illegal(f"{message!r} was never published, but in group {group!r} {event}")
        return found

    def _illegal(self, group: str, message: str, event: str) -> Illegal:
        believed = self.describe(group, message)
        return Illegal(f"{message!r} in group {group!r} is {believed}; but {event}")
