"""Keeps leases alive while their messages are held."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.settler import is_refusal, one_for_each
from acked._core.episode import Episode
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
        *,
        lease: float,
        max_lease: float | None,
        on_lost: Callable[[set[InFlight]], None],
    ) -> None:
        self._feed = feed
        self._tracker = tracker
        self._clock = clock
        self._renewal: Renewal[InFlight] = Renewal(lease, max_lease)
        self._lease = lease
        self._can_extend = capabilities.extend
        self._needs_renewal = capabilities.extend and capabilities.lease == "timer"
        self._on_lost = on_lost
        self._one_at_a_time = anyio.Lock()
        self._refusals = Episode(logger, "leases are renewed again")

    async def renew_due(self) -> None:
        """Wait for the next turn and renew whatever is held then."""
        await self._clock.sleep_until(self._clock.time() + self._renewal.interval)
        if not self._needs_renewal:
            return
        async with self._one_at_a_time:
            # Lease: looked at within the turn. An extension that this waited for must not be cut.
            held = [entry for entry in self._tracker.open if entry.state is State.HELD]
            due = self._renewal.due(held, self._clock.time())
            if due:
                self._renewed(due, await self._answers(due))

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
            self._renewal.extended(entry, until)
            return
        if answer is Outcome.LOST:
            self._lost([entry])
        raise not_extended(entry, answer)

    async def _answers(self, due: Sequence[InFlight]) -> Sequence[Reply]:
        """Ask for one lease more; a layer that raises has said the same of all."""
        tokens = [entry.leased.token for entry in due]
        try:
            return one_for_each(await self._feed.extend(tokens, self._lease), tokens, "extend")
        except LayerError as error:
            return [error] * len(due)

    def _renewed(self, due: Sequence[InFlight], answers: Sequence[Reply]) -> None:
        # What was not renewed has two more turns before its lease ends; the fetcher tells of a
        # connection that is lost for longer.
        self._refusals.note(next(filter(is_refusal, answers), None))
        pairs = zip(due, answers, strict=True)
        self._lost([entry for entry, answer in pairs if answer is Outcome.LOST])

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
    name = f"the lease of message {leased.record.id} of topic {leased.record.topic!r}"
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
