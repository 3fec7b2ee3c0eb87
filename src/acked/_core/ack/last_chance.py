"""The last chance of a message, which it gets alone: nobody is given up for another's fault.

Which messages these are, and why, says `acked._machines.last_chance`. A message's neighbours are
whatever else its process has in flight: so the whole event loop pauses. What was handed out before
is waited for, then a note is kept with the message at the broker, then it is handed out and waited
for. Meanwhile other consumers may have what was fetched, and nobody pays for any of it before.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast
from weakref import WeakSet

import anyio
import msgspec
from anyio.lowlevel import RunVar

from acked._core.ack.fetcher import UNSEEN, Fetcher
from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.notify import Notify
from acked._core.options import AckSettings
from acked._machines.last_chance import Chance, chance
from acked.abc import AckFeed, Clock, LastChanceFeed
from acked.errors import LayerError
from acked.types import Capabilities

__all__ = ("LastChances", "uncounted")

logger = logging.getLogger("acked.subscription")

PATIENCE: Final = 10.0
"""Leases for which the others wait; then a handler that takes longer shares the loop with them."""


class LastChances:
    """Hands out alone what has one delivery left; one for each subscription.

    Everything it waits for wakes `tracker.freed`: a settlement, a reader, and `look`.
    """

    def __init__(
        self,
        feed: AckFeed,
        fetcher: Fetcher,
        tracker: InFlightTracker,
        options: AckSettings,
        clock: Clock,
        give_up: Callable[[InFlight, str], object],
        on_lost: Callable[[set[InFlight]], None],
    ) -> None:
        self.fetcher: Final = fetcher
        self._feed = feed
        self._tracker = tracker
        self._clock = clock
        self._most = options.redelivery.max_deliveries
        self._patience = PATIENCE * options.lease
        self._give_up = give_up
        self._on_lost = on_lost
        self._queued = Notify()
        self._crowd = _crowd()
        self._crowd.join(self)

    def leave(self) -> None:
        """Be none of the loop's subscriptions any more."""
        self._crowd.members.discard(self)
        self._tracker.freed.set()

    def runs(self, capabilities: Capabilities) -> Sequence[Callable[[], Awaitable[None]]]:
        """Return what must run in the background for it, if there can be last chances."""
        return (self.run,) if self._most is not None and capabilities.last_chance else ()

    def accept(self, entries: list[InFlight]) -> list[InFlight]:
        """Return what may be handed out beside others; see to what may not."""
        most = self._most
        if most is None or max([entry.leased.attempt for entry in entries]) < most:
            return entries
        accepted: list[InFlight] = []
        for entry in entries:
            leased = entry.leased
            match chance(most, leased.attempt, leased.failures, leased.ended_alone):
                case Chance.SHARED:
                    accepted.append(entry)
                case Chance.ALONE:
                    # What others did makes it no more deliveries than it may have.
                    attempt = min(leased.attempt, most)
                    entry.leased = msgspec.structs.replace(leased, attempt=attempt)
                    self.fetcher.pause()  # or what was fetched behind it would overtake it
                    self.fetcher.last_chances.append(entry)
                    self._queued.set()
                case _:  # none
                    often = leased.ended_alone
                    alone = f", {often} times alone, and not settled" if often else ""
                    self._give_up(entry, f"delivered {most} times{alone}")
        return accepted

    async def run(self) -> None:
        """Hand out what was added, until cancelled."""
        while True:
            while not self.fetcher.last_chances:
                await self._queued.wait()
            async with self._crowd.turn:
                self._crowd.pause()
                try:
                    await self._hand_out()
                finally:
                    self._crowd.resume()

    def look(self) -> None:
        """Let the one that waits look at the clock; called a few times in a lease."""
        if self._crowd.is_paused:
            self._tracker.freed.set()

    async def _hand_out(self) -> None:
        queue, fetcher = self.fetcher.last_chances, self.fetcher
        if not await self._is_quiet():
            logger.warning(
                "%d message(s) with one delivery left are handed out beside others: what was "
                "handed out before was not settled within %g s",
                len(queue),
                self._patience,
            )
            self._hand_out_all()
        while queue:
            entry = queue[0]
            await self._give_back_the_rest()
            if not await self._is_awaited() or not await self._note(entry):
                await self._postpone()
            elif queue and queue[0] is entry:  # else it was lost meanwhile
                fetcher.hand_out(queue.popleft())
                await self._wait_for(entry)

    async def _is_quiet(self) -> bool:
        """Wait until nothing that was handed out is unsettled; False if that takes too long."""
        until = self._clock.time() + self._patience
        for member in tuple(self._crowd.members):
            if not await member.wait(member.is_idle, until):
                return False
        return True

    def is_idle(self) -> bool:
        """Say whether nothing that was handed out is unsettled."""
        tracker = self._tracker
        return len(tracker.open) <= self.fetcher.unseen + len(tracker.hidden)

    async def _is_awaited(self) -> bool:
        """Wait for a reader: a note from before it takes the message would be untrue."""
        with anyio.move_on_after(UNSEEN):
            while not self.fetcher.is_awaited:
                await self._tracker.freed.wait()
        return self.fetcher.is_awaited

    async def wait(self, is_true: Callable[[], bool], until: float) -> bool:
        """Wait until `is_true`; False if it is not by the moment `until`."""
        while not is_true():
            if self._clock.time() >= until:
                return False
            await self._tracker.freed.wait()
        return True

    async def _note(self, entry: InFlight, *, alone: bool = True) -> bool:
        """Note with `entry` that it is handled alone, or not; False if that cannot be done now."""
        try:
            noted = cast("LastChanceFeed", self._feed)
            token = await noted.note_alone(entry.leased.token, alone=alone)
        except LayerError as error:
            logger.warning(
                "message %r waits for its last chance: %s", entry.leased.record.id, error
            )
            return False
        if token is None:
            self._on_lost({entry})
        else:
            entry.token = token  # type: ignore[misc]  # its base is frozen, it is not
            entry.leased = msgspec.structs.replace(entry.leased, token=token)
        return True

    async def _wait_for(self, entry: InFlight) -> None:
        """Wait until `entry` is settled; after a while the others go on beside it."""
        until = self._clock.time() + self._patience
        if await self.wait(lambda: entry not in self._tracker.open, until):
            return
        logger.warning(
            "message %r, alone since %g s, is handled beside others from now on",
            entry.leased.record.id,
            self._patience,
        )
        await self._note(entry, alone=False)  # what ends the process now may be one of them
        self._hand_out_all()

    async def _give_back_the_rest(self) -> None:
        """Let other consumers have what waits for its turn for too long."""
        queue = self.fetcher.last_chances
        waits_too_long = queue[-1].lease.since <= self._clock.time() - UNSEEN
        if self.fetcher.gives_back and len(queue) > 1 and waits_too_long:
            await self.fetcher.give_back(queue, all_but=1)

    async def _postpone(self) -> None:
        """Let others, or us later, have what cannot be handed out alone now."""
        if self.fetcher.gives_back:
            await self.fetcher.give_back(self.fetcher.last_chances)
        else:
            self._hand_out_all()

    def _hand_out_all(self) -> None:
        queue = self.fetcher.last_chances
        while queue:
            self.fetcher.hand_out(queue.popleft())


def uncounted(options: AckSettings, capabilities: Capabilities) -> str:
    """Return what `max_deliveries` cannot do on a layer that keeps no last chances."""
    why = (
        "its broker does not tell a nack from a lease that ended: what a process had fetched when "
        "it died is charged, and may be given up for that"
        if capabilities.attempts
        else "its broker keeps no count: what ends the process that handles it comes again without "
        "limit"
    )
    most = options.redelivery.max_deliveries
    return f"group {options.group!r}: max_deliveries={most} counts nacks on this layer; {why}"


class Crowd:
    """The subscriptions of one event loop: one of them at a time may have it for itself."""

    def __init__(self) -> None:
        self.members: WeakSet[LastChances] = WeakSet()
        self.turn = anyio.Lock()
        self.is_paused = False

    def join(self, member: LastChances) -> None:
        """Become one of them."""
        self.members.add(member)
        if self.is_paused:
            member.fetcher.pause()

    def pause(self) -> None:
        """Let nobody hand out anything."""
        self.is_paused = True
        for member in self.members:
            member.fetcher.pause()

    def resume(self) -> None:
        """Let all go on, but those whose turn is still to come."""
        self.is_paused = False
        for member in self.members:
            if not member.fetcher.last_chances:
                member.fetcher.resume()


_crowds: Final[RunVar[Crowd]] = RunVar("acked.crowd")


def _crowd() -> Crowd:
    """Return the one of this event loop."""
    try:
        return _crowds.get()
    except LookupError:
        crowd = Crowd()
        _crowds.set(crowd)
        return crowd
