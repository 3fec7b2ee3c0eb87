"""Keeps leases alive while their messages are held or buffered."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import anyio

from acked._core.ack.in_flight import InFlight, InFlightTracker, LeaseSpan
from acked._core.ack.settler import is_refusal, one_for_each
from acked._core.episode import Episode
from acked._core.observer import Observer
from acked._core.options import AckSettings
from acked._machines.renewal import Renewal
from acked._machines.settlement import State
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, AckUnconfirmed, CapabilityError, LayerError, LeaseLost
from acked.types import Capabilities, Outcome, Reply

__all__ = ("LeaseRenewer",)

logger = logging.getLogger("acked.subscription")

_DONE: Final = (Outcome.CONFIRMED, Outcome.SENT)


class LeaseRenewer:
    """One renewal for everything held or buffered, three times in a lease.

    A handler that blocks the event loop for longer than two thirds of a lease stops this too:
    run such work in a thread.
    """

    def __init__(
        self,
        feed: AckFeed,
        capabilities: Capabilities,
        tracker: InFlightTracker,
        clock: Clock,
        options: AckSettings,
        observer: Observer | None,
        *,
        on_lost: Callable[[set[InFlight]], None],
        on_outlived: Callable[[Sequence[InFlight]], Awaitable[None]],
    ) -> None:
        self._feed = feed
        self._tracker = tracker
        self._clock = clock
        self._observer = observer
        self._lease = options.lease
        self._renewal: Renewal[InFlight] = Renewal(options.lease, options.max_lease)
        self._can_extend = capabilities.extend
        self._needs_renewal = capabilities.extend and capabilities.lease == "timer"
        self._on_lost = on_lost
        self._on_outlived = on_outlived
        self._one_at_a_time = anyio.Lock()
        self._refusals = Episode(logger, "leases are renewed again")

    async def renew_due(self) -> None:
        """Wait for the next turn and renew whatever is held then."""
        moment = self._clock.time() + self._renewal.interval
        await self._clock.sleep_until(moment)
        self._tracker.stall = self._clock.time() - moment
        if not self._needs_renewal:
            return
        async with self._one_at_a_time:
            # Lease: looked at within the turn. An extension that this waited for must not be cut.
            held = [entry for entry in self._tracker.open if entry.state is State.HELD]
            due = self._renewal.due(held, self._clock.time())
            if due:
                await self._renew(due)
            if self._renewal.outlived:
                await self._on_outlived(self._renewal.outlived)

    async def renew_before_handing_out(self, buffer: deque[InFlight]) -> None:
        """Renew what of `buffer` may not be ours any more, and lose what is not.

        So what is handed out afterwards has a lease that holds, also after the machine slept.
        """
        async with self._one_at_a_time:
            now = self._clock.time()
            over = [entry for entry in buffer if entry.lease.until <= now]
            if over and self._can_extend:
                await self._renew(over)
            still = {entry for entry in over if entry.lease.until <= now}
            if still:
                self._on_lost(still)

    async def extend(self, entry: InFlight, seconds: float) -> None:
        """Let the lease of `entry` end `seconds` from now.

        Raises `LeaseLost` if it is not ours, `AckUnconfirmed` if the connection broke before the
        answer, `LayerError` if the broker refused. Unless it was confirmed, renewal goes on.
        """
        if not self._can_extend:
            raise CapabilityError("this layer's leases cannot be extended")
        async with self._one_at_a_time:
            if entry.state is not State.HELD:
                raise LeaseLost("cannot extend: this delivery was settled, or its lease has ended")
            seconds = max(seconds, self._lease)  # an extension never cuts what renewal promises
            until = self._clock.time() + seconds  # taken before: the lease ends no sooner
            tokens = [entry.leased.token]
            (answer,) = one_for_each(await self._feed.extend(tokens, seconds), tokens, "extend")
        if answer in _DONE:
            entry.lease = LeaseSpan(entry.lease.since, until)
            self._renewal.extended(entry, until)
            return
        if answer is Outcome.LOST:
            self._lost([entry])
        raise not_extended(entry, answer)

    async def _renew(self, entries: Sequence[InFlight]) -> None:
        """Ask for one lease more for each; a layer that raises has said the same of all."""
        until = self._clock.time() + self._lease  # taken before, as above
        tokens = [entry.leased.token for entry in entries]
        answers: Sequence[Reply]
        try:
            answers = one_for_each(await self._feed.extend(tokens, self._lease), tokens, "extend")
        except LayerError as error:
            answers = [error] * len(entries)
        # What was not renewed has two more turns before its lease ends; the fetcher tells of a
        # connection that is lost for longer.
        self._refusals.note(next(filter(is_refusal, answers), None))
        for entry, answer in zip(entries, answers, strict=True):
            if answer in _DONE:
                entry.lease = LeaseSpan(entry.lease.since, until)
        pairs = zip(entries, answers, strict=True)
        self._lost([entry for entry, answer in pairs if answer is Outcome.LOST])
        if self._observer is not None:
            self._observer.renewed([entry.leased for entry in entries], answers)

    def _lost(self, entries: Iterable[InFlight]) -> None:
        # Race: settled while the renewal was on its way. Then LOST is no news: only what nobody
        # has begun to settle was lost to another holder.
        lost = {
            entry for entry in entries if entry.state is State.HELD and entry in self._tracker.open
        }
        if lost:
            self._on_lost(lost)


def not_extended(entry: InFlight, answer: Reply) -> AckedError:
    """Return the error that says why a lease was not extended."""
    leased = entry.leased
    name = f"the lease of message {leased.record.id!r} of topic {leased.record.topic!r}"
    error: AckedError
    if answer is Outcome.LOST:
        error = LeaseLost(f"cannot extend: {name} has ended, it may be another consumer's now")
    elif is_refusal(answer):
        error = LayerError(f"{name} was not extended, and is renewed as before: {answer}")
    else:
        error = AckUnconfirmed(
            f"the connection broke before {name} was extended: it is renewed as before"
        )
    error.__cause__ = answer if isinstance(answer, LayerError) else None
    return error
