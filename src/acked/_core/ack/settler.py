"""Settlements on their way to the layer: coalesced without a timer, confirmed one by one.

One flush is in flight at a time; whatever is asked for meanwhile goes with the next one. So a
lone `ack()` leaves at once, a thousand concurrent ones share a few requests, and nothing waits
for a clock. No task, event or closure is made for a message: one event serves a whole flush.

Cancelling an `ack()` that waits does not stop its settlement: it leaves the message acked, or
delivered again if the connection breaks, and never lost.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeGuard

from anyio.lowlevel import checkpoint

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.episode import Episode
from acked._core.notify import Notify
from acked._core.observer import Observer
from acked._machines.record_size import size_of
from acked._machines.settlement import BEGIN, State, Step, begin
from acked.abc import AckFeed
from acked.errors import (
    AckedError,
    AckUnconfirmed,
    ConnectionLost,
    LayerError,
    LeaseLost,
    layer_failure,
)
from acked.types import Outcome, Record, Reply, Settlement, Verb

__all__ = ("Flush", "Settler", "error_of", "is_refusal", "one_for_each")

logger = logging.getLogger("acked.subscription")

LETTER_BYTES: Final = 1024 * 1024
"""Of the dead letters in one request, beside the one that makes it more."""

_ACK: Final = Verb.ACK
_HELD: Final = State.HELD
_ACKING: Final = BEGIN[_ACK][_HELD][0]


class Flush:
    """One request's worth of settlements, and who of them was not confirmed."""

    __slots__ = ("_answered", "_failures", "_finished")

    def __init__(self) -> None:
        self._answered = Notify()
        self._finished = False
        self._failures: Mapping[InFlight, AckedError] = {}

    def finish(self, failures: Mapping[InFlight, AckedError]) -> None:
        """Note which settlements were not carried out and why, and wake everybody who waits."""
        self._failures = failures
        self._finished = True
        self._answered.set()

    async def confirmed(self, entry: InFlight) -> None:
        """Wait for the layer's answer; raise if the settlement of `entry` was not carried out."""
        while not self._finished:  # as `failures` does; a coroutine less on the hot path
            await self._answered.wait()
        error = self._failures.get(entry)
        if error is not None:
            raise error

    async def failures(self) -> Mapping[InFlight, AckedError]:
        """Wait for the layer's answer; return which settlements were not carried out, and why."""
        while not self._finished:
            await self._answered.wait()
        return self._failures


class Settler:
    """Collects settlements and sends them by `feed.settle`, one batch after the other."""

    def __init__(
        self,
        feed: AckFeed,
        tracker: InFlightTracker,
        observer: Observer | None,
        *,
        pipelined: bool,
        on_error: Callable[[AckedError, int], None],
        on_unconfirmed: Callable[[InFlight, Reply], None],
    ) -> None:
        self._feed = feed
        self._tracker = tracker
        self._observer = observer
        self._pipelined = pipelined
        self._on_error = on_error
        self._note_unconfirmed = on_unconfirmed
        self._acks: list[InFlight] = []
        self._others: dict[InFlight, Settlement] = {}
        self._has_letters = False
        self._flush = Flush()
        self._sending = self._flush
        self._work = Notify()
        self._closing = False
        self._refusals = Episode(logger, "settling works again")

    def ack(self, entry: InFlight) -> Flush | None:
        """Queue an ack; return the flush to wait for, or None if there is nothing to await.

        Raises `AlreadySettled` or `LeaseLost`, and then nothing has changed.
        """
        if entry.state is _HELD:  # the table's row for it: no call on the hot path
            entry.state = _ACKING
            if not self._acks:
                self._work.set()
            self._acks.append(entry)
            return None if self._pipelined else self._flush
        entry.state, step = begin(entry.state, _ACK)
        return None if self._pipelined else self._flush_of(entry, step)

    def ack_all(self, entries: Sequence[InFlight]) -> Flush | None:
        """Queue acks of `entries`, which are all held, as `ack` does."""
        for entry in entries:
            entry.state = _ACKING
        if not self._acks:
            self._work.set()
        self._acks += entries
        return None if self._pipelined else self._flush

    def settle(
        self, entry: InFlight, verb: Verb, delay: float, dead_letter: Record | None
    ) -> Flush | None:
        """Queue a nack or a rejection, as `ack` does."""
        entry.state, step = begin(entry.state, verb)
        if step is Step.SEND:
            self._others[entry] = Settlement(entry.leased.token, verb, delay, dead_letter)
            self._has_letters |= dead_letter is not None
            self._work.set()
        return None if self._pipelined else self._flush_of(entry, step)

    def requeue(self, entry: InFlight, delay: float) -> None:
        """Queue a nack of the engine's own: from now on the user can settle `entry` no more."""
        entry.state = State.RETURNING
        self._others[entry] = Settlement(entry.leased.token, Verb.NACK, delay)
        self._work.set()

    async def run(self) -> None:
        """Send what is queued until `close()` was called and nothing is left."""
        try:
            while self._queued() or not self._closing:
                if self._queued():
                    await self._send()
                    # Who was answered just now may settle the next at once: a turn for them, or
                    # flushes of one and of all the others would alternate for ever.
                    await checkpoint()
                else:
                    await self._work.wait()
        finally:
            self.abandon()

    def close(self) -> None:
        """Let `run` end as soon as everything queued was answered."""
        self._closing = True
        self._work.set()

    def abandon(self) -> None:
        """Reply UNKNOWN to what can no longer be sent, so that nobody waits for ever."""
        entries, _, flush = self._take()
        if entries:
            self._answered(flush, entries, [Outcome.UNKNOWN] * len(entries))

    def _queued(self) -> bool:
        return bool(self._acks or self._others)

    def _flush_of(self, entry: InFlight, step: Step) -> Flush | None:
        if step is Step.NOTHING:
            return None
        waiting = step is Step.SEND or entry in self._others or entry in self._acks
        return self._flush if waiting else self._sending

    def _take(self) -> tuple[list[InFlight], Sequence[Settlement], Flush]:
        """Return all that is queued, and start a new flush for whatever comes next."""
        acks, self._acks = self._acks, []
        others, self._others = self._others, {}
        flush, self._flush = self._flush, Flush()
        return [*acks, *others], [*acks, *others.values()], flush

    async def _send(self) -> None:
        entries, batch, flush = self._take()
        self._sending = flush
        unknown: list[Reply] = [Outcome.UNKNOWN] * len(entries)
        answers: Sequence[Reply] = unknown
        failure: AckedError | None = None
        try:
            if self._has_letters:
                self._has_letters = False
                await self._send_letters(batch, unknown)
            else:
                answers = one_for_each(await self._feed.settle(batch), batch, "settle")
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            failure = layer_failure(error, "settling")
            self._on_error(failure, 1)
        finally:
            if self._observer is not None:
                for entry, settlement, answer in zip(entries, batch, answers, strict=True):
                    self._observer.settled(entry.leased, settlement.verb, answer)
            self._answered(flush, entries, answers, failure)

    async def _send_letters(self, batch: Sequence[Settlement], answers: list[Reply]) -> None:
        """Send `batch` by several requests, and note in `answers` what came of each."""
        at = 0
        for request in _requests(batch):
            replies = await self._feed.settle(request)
            answers[at : at + len(request)] = one_for_each(replies, request, "settle")
            at += len(request)

    def _answered(
        self,
        flush: Flush,
        entries: list[InFlight],
        answers: Sequence[Reply],
        cause: AckedError | None = None,
    ) -> None:
        failures = self._tracker.settled(entries, answers)
        if not failures:
            flush.finish({})
            self._refusals.over()
            return
        stall = self._tracker.stall
        errors = {one: error_of(one, answer, cause, stall) for one, answer in failures.items()}
        flush.finish(errors)
        for entry, answer in failures.items():
            if answer is not Outcome.LOST:
                self._note_unconfirmed(entry, answer)
        self._refusals.note(next(filter(is_refusal, failures.values()), None))
        if self._pipelined:
            self._on_error(next(iter(errors.values())), len(errors))


def _requests(batch: Sequence[Settlement]) -> Iterator[Sequence[Settlement]]:
    """Cut `batch` so that the dead letters of one request are bounded in bytes.

    Every layer has a letter once more while it sends it, and all that is in flight may die at once.
    """
    begin = size = 0
    for at, one in enumerate(batch):
        if size >= LETTER_BYTES:
            yield batch[begin:at]
            begin, size = at, 0
        size += 0 if one.dead_letter is None else size_of(one.dead_letter)
    yield batch[begin:]


def error_of(entry: InFlight, answer: Reply, cause: Exception | None, stall: float) -> AckedError:
    """Return the error that says what became of a settlement that was not confirmed.

    `stall` is for how many seconds the event loop was blocked lately.
    """
    leased = entry.leased
    name = f"message {leased.record.id!r} of topic {leased.record.topic!r}"
    error: AckedError
    if answer is Outcome.LOST:
        why = "give a longer lease= or handle it faster"
        if stall > 1.0:
            why = (
                f"the event loop was blocked for {stall:.1f} s, so it was not renewed: run such "
                "work in a thread"
            )
        error = LeaseLost(
            f"{name} was settled after its lease had ended: nothing was changed, it may be "
            f"delivered again; {why}"
        )
    elif is_refusal(answer):
        words = f"the settlement of {name} was refused, and it is still owed: {answer}"
        error = LayerError(words, may_pass=answer.may_pass)
    else:
        error = AckUnconfirmed(
            f"the settlement of {name} was not confirmed by the broker before the connection "
            "broke, or the subscription was left: it may be settled, or it will be delivered again"
        )
    error.__cause__ = answer if isinstance(answer, LayerError) else cause
    return error


def is_refusal(answer: Reply) -> TypeGuard[LayerError]:
    """Say whether the broker has said no, and why."""
    return isinstance(answer, LayerError) and not isinstance(answer, ConnectionLost)


def one_for_each(answers: Sequence[Reply], asked: Sequence[object], verb: str) -> Sequence[Reply]:
    """Return `answers`; raise `LayerError` unless there is one for each that was asked for.

    A layer's mistake must neither be taken for a yes nor leave somebody waiting for ever.
    """
    if len(answers) != len(asked):
        raise LayerError(
            f"the layer has a bug: {verb} returned {len(answers)} answers for {len(asked)}"
        )
    return answers
