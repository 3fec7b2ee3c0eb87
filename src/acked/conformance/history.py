"""What happened, as data, and an offline check that a correct layer can have let it happen.

While several consumers work at once nobody can say beforehand what each will get. So everything is
recorded: each call before it is made, each answer after it came, each delivery. Of one process the
record is in one order. Afterwards `violations` reads it. Rules:

1. *Invention*: what was delivered had been published.
2. *Loss*: what was accepted is settled, for every group, at the end of a drained history.
3. *Redelivery*: after a confirmed ack or rejection the message never comes again to that group.
4. *Two holders*: a message comes again only when its last holder began to settle it or to leave,
   or its lease was over.
5. *Stale settlement*: none is confirmed that began when the message was another's already.
6. *Order*: what a consumer receives first of a key (of all, where the order is total) comes in
   the order of publishing; unless it may have been in another's buffer meanwhile: in that of one
   who left, or of one who was busy, and gave back after `UNSEEN` seconds what it had not read.
7. *Attempts* rise by one with each delivery, beginning with 1; a release leaves them as they are.
8. *Delay*: what was nacked with a delay does not come before that is over.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from acked.types import Capabilities, Verb

__all__ = ("UNSEEN", "History", "HistoryEvent", "Kind", "Violation", "violations")

Kind: TypeAlias = Literal[
    "publish", "accepted", "join", "deliver", "settle", "confirmed", "lost", "leave", "release"
]
"""`publish` and `settle` are calls, `accepted`, `confirmed` and `lost` their answers; a call
without an answer may have been carried out. `leave` and `release` are the beginnings of leaving:
after `release` nothing is charged, since the holder was interrupted."""

NEVER = float("inf")
UNSEEN = 1.0
"""Seconds after which the engine gives back what nobody has read."""


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened at the moment `at`, on the clock of the leases."""

    kind: Kind
    at: float
    group: str = ""
    consumer: str = ""
    """Unique for each joining."""
    message: str = ""
    key: str = ""
    attempt: int = 0
    until: float = NEVER
    """When the lease of a delivery ends that nobody renews."""
    verb: Verb | None = None
    delay: float = 0.0


History: TypeAlias = Sequence[HistoryEvent]


class Violation(msgspec.Struct, frozen=True):
    """A rule that was broken, and how."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def violations(
    history: History, capabilities: Capabilities, *, groups: Iterable[str] = ()
) -> list[Violation]:
    """Return what no correct layer with these `capabilities` can have done.

    `groups` are those that existed before the first publish and were drained at the end.
    """
    published = _Publishing(history)
    found: list[Violation] = []
    seen = {(event.group, event.message) for event in history if event.kind == "deliver"}
    for group, message in sorted(seen):
        mine = [e for e in history if e.message == message and e.group in {group, ""}]
        story = _Story(group, message, mine, history, capabilities)
        found += story.violations()
    if capabilities.order != "none":
        found += _disorder(history, published, total=capabilities.order == "total")
    found += _losses(history, published, groups)
    return found


class _Publishing:
    """When each message was published: the numbers of the call and of the answer."""

    def __init__(self, history: History) -> None:
        self.called = {e.message: n for n, e in enumerate(history) if e.kind == "publish"}
        self.accepted = {e.message: n for n, e in enumerate(history) if e.kind == "accepted"}
        self.keys = {e.message: e.key for e in history if e.kind == "publish"}

    def before(self, first: str, second: str) -> bool:
        """Say whether `first` was accepted before anybody began to publish `second`."""
        accepted = self.accepted.get(first)
        return accepted is not None and accepted < self.called.get(second, -1)


class _Story:
    """One message in one group, event by event."""

    def __init__(
        self, group: str, message: str, events: History, whole: History, can: Capabilities
    ) -> None:
        self._where = f"{message!r} in group {group!r}"
        self._events = events
        self._departures = {
            event.consumer: event for event in whole if event.kind in {"leave", "release"}
        }
        self._can = can
        self._found: list[Violation] = []
        self._published = False
        self._holding: HistoryEvent | None = None
        self._settling: dict[str, HistoryEvent] = {}
        self._settled: HistoryEvent | None = None
        self._delay: tuple[HistoryEvent, float] | None = None
        self._numbers = {id(event): number for number, event in enumerate(whole)}

    def violations(self) -> list[Violation]:
        """Return what is wrong with it."""
        for event in self._events:
            getattr(self, f"_on_{event.kind}", self._nothing)(event)
        return self._found

    def _nothing(self, event: HistoryEvent) -> None:
        """Leave what is judged elsewhere: accepted, joined, left."""

    def _on_publish(self, _: HistoryEvent) -> None:
        self._published = True

    def _on_deliver(self, event: HistoryEvent) -> None:
        if not self._published:
            self._complain("invention", f"was delivered to {event.consumer}, never published")
        if self._settled is not None:
            self._complain(
                "redelivery", f"came to {event.consumer} after {self._settled.consumer} settled it"
            )
        last = self._holding
        if last is not None and not self._over(last, event):
            self._complain("two holders", f"came to {event.consumer} while {last.consumer} held it")
        self._check_attempt(last, event)
        if self._delay is not None and event.at < self._delay[1]:
            nack, due = self._delay
            if self._can.lease != "connection" or not self._departed(nack.consumer, event):
                self._complain("delay", f"came at {event.at:.3f}, nacked until {due:.3f}")
        self._delay = None
        self._holding = event

    def _on_settle(self, event: HistoryEvent) -> None:
        self._settling[event.consumer] = event

    def _on_confirmed(self, event: HistoryEvent) -> None:
        call = self._settling.get(event.consumer)
        holding = self._holding
        if call is None or call.verb is None:
            self._complain("stale settlement", f"of {event.consumer} was answered, never asked for")
            return
        another = holding is not None and holding.consumer != event.consumer
        if holding is not None and another and self._before(holding, call):
            self._complain(
                "stale settlement",
                f"by {event.consumer} was confirmed after {holding.consumer} had got it",
            )
        if call.verb is not Verb.NACK:
            self._settled = event if self._can.confirmed_ack else None
        elif call.delay:
            self._delay = (call, call.at + call.delay)

    def _over(self, last: HistoryEvent, event: HistoryEvent) -> bool:
        """Say whether the lease of the delivery `last` may be over when `event` comes."""
        if event.at >= last.until or self._departed(last.consumer, event):
            return True
        call = self._settling.get(last.consumer)
        return call is not None and self._before(last, call)

    def _before(self, first: HistoryEvent, second: HistoryEvent) -> bool:
        return self._numbers[id(first)] < self._numbers[id(second)]

    def _departed(self, consumer: str, event: HistoryEvent) -> bool:
        departure = self._departures.get(consumer)
        return departure is not None and self._before(departure, event)

    def _check_attempt(self, last: HistoryEvent | None, event: HistoryEvent) -> None:
        if not self._can.attempts:
            return
        if last is None:
            legal = {1}
        else:
            legal = {last.attempt + 1}
            departure = self._departures.get(last.consumer)
            if departure is not None and departure.kind == "release":
                legal.add(last.attempt)
        if event.attempt not in legal:
            before = "nothing" if last is None else f"attempt {last.attempt}"
            self._complain("attempts", f"came as attempt {event.attempt} after {before}")

    def _complain(self, rule: str, words: str) -> None:
        self._found.append(Violation(rule, f"{self._where} {words}"))


def _disorder(history: History, published: _Publishing, *, total: bool) -> list[Violation]:
    found: list[Violation] = []
    first: set[tuple[str, str]] = set()
    latest: dict[tuple[str, str], HistoryEvent] = {}
    for number, event in enumerate(history):
        if event.kind != "deliver":
            continue
        again = (event.group, event.message) in first
        first.add((event.group, event.message))
        key = "" if total else published.keys.get(event.message, "")
        if again or (not total and not key):
            continue
        before = latest.get((event.consumer, key))
        latest[event.consumer, key] = event
        if before is None or not published.before(event.message, before.message):
            continue
        if event.at - history[published.called[event.message]].at >= UNSEEN:
            continue
        since = history[published.accepted[event.message] : number]
        if not any(e.kind in {"leave", "release"} and e.group == event.group for e in since):
            found.append(
                Violation(
                    "order",
                    f"{event.consumer} of group {event.group!r} received {event.message!r} after "
                    f"{before.message!r}, which was published later",
                )
            )
    return found


def _losses(history: History, published: _Publishing, groups: Iterable[str]) -> list[Violation]:
    """Return what nobody tried to settle: a settlement without an answer may have been done."""
    done = {
        (event.group, event.message)
        for event in history
        if event.kind == "settle" and event.verb is not Verb.NACK
    }
    return [
        Violation("loss", f"{message!r} was accepted, and never settled in group {group!r}")
        for group in groups
        for message in published.accepted
        if (group, message) not in done
    ]
