"""Keeps leases alive while their messages are held."""

from collections.abc import Callable, Iterable

import anyio

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._machines.renewal import Renewal
from acked._machines.settlement import State
from acked.abc import AckFeed, Clock
from acked.errors import CapabilityError, LayerError, LeaseLost
from acked.types import Capabilities, Outcome

__all__ = ("LeaseRenewer",)


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

    async def renew_due(self) -> None:
        """Wait for the next turn and renew whatever is held then."""
        await self._clock.sleep_until(self._clock.time() + self._renewal.interval)
        if not self._needs_renewal:
            return
        held = [entry for entry in self._tracker.open if entry.state is State.HELD]
        due = self._renewal.due(held, self._clock.time())
        if not due:
            return
        try:
            async with self._one_at_a_time:
                outcomes = await self._feed.extend([d.leased.token for d in due], self._lease)
        except LayerError:
            return  # two more turns before any lease ends; the fetcher tells of a lasting failure
        pairs = zip(due, outcomes, strict=True)
        self._lost([entry for entry, outcome in pairs if outcome is Outcome.LOST])

    async def extend(self, entry: InFlight, seconds: float) -> None:
        """Let the lease of `entry` end `seconds` from now; raise `LeaseLost` if it is not ours."""
        if not self._can_extend:
            raise CapabilityError("this layer's leases cannot be extended")
        if entry.state is State.HELD:
            async with self._one_at_a_time:
                (outcome,) = await self._feed.extend([entry.leased.token], seconds)
            if outcome is not Outcome.LOST:
                self._renewal.extended(entry, self._clock.time() + seconds)
                return
            self._lost([entry])
        raise LeaseLost("cannot extend: this delivery was settled, or its lease has ended")

    def _lost(self, entries: Iterable[InFlight]) -> None:
        # Race: settled while the renewal was on its way. Then LOST is no news: only what nobody
        # has begun to settle was lost to another holder.
        lost = {
            entry for entry in entries if entry.state is State.HELD and entry in self._tracker.open
        }
        if lost:
            self._on_lost(lost)
