"""Where the deliveries of one subscription are settled: what is asked for, checked and queued.

What is decided for every layer lives here and nowhere else: dead letters, the limit of
deliveries, what happens to the unsettled on leaving. Sending is the settler's, leases
are the renewer's.
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from acked._core.ack.dead_letters import dead_letter
from acked._core.ack.fetcher import Fetcher
from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.lease_renewer import LeaseRenewer
from acked._core.ack.settler import Flush, Settler
from acked._core.background import BackgroundTask
from acked._core.failure import layer_failure
from acked._core.options import AckSettings
from acked._machines.settlement import State
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, CapabilityError
from acked.types import Capabilities, Record, Settlement, Verb

__all__ = ("SettlementPolicy",)

logger = logging.getLogger("acked.subscription")


class SettlementPolicy:
    """Settles, extends, has_dead_letters, gives back; one for each subscription."""

    def __init__(
        self,
        feed: AckFeed,
        capabilities: Capabilities,
        tracker: InFlightTracker,
        options: AckSettings,
        clock: Clock,
    ) -> None:
        self.fetcher: Final = Fetcher(feed, tracker, options, clock, self._accept)
        self._feed = feed
        self._capabilities = capabilities
        self._tracker = tracker
        self._options = options
        pipelined = not options.confirm_acks
        self._settler = Settler(
            feed,
            tracker,
            pipelined=pipelined,
            on_error=self._on_error,
            on_unconfirmed=self._note_unconfirmed,
        )
        self.ack: Final = self._settler.ack  # as it is: a call less on the hot path
        self._renewer = LeaseRenewer(
            feed,
            capabilities,
            tracker,
            clock,
            lease=options.lease,
            max_lease=options.max_lease,
            on_lost=self._expire,
        )
        self._error: AckedError | None = None
        self._forgotten: deque[InFlight] = deque()
        self._unconfirmed: tuple[set[InFlight], set[InFlight]] = (set(), set())
        """Since before the last turn of the renewer, and since then."""
        self._dying: dict[InFlight, str] = {}
        self._receiving = BackgroundTask(self.fetcher.run)
        self._settling = BackgroundTask(self._settler.run)
        self._keeping = BackgroundTask(self._keep)
        self.services: Final = (self._receiving, self._settling, self._keeping)

    def nack(self, entry: InFlight, delay: float) -> Flush | None:
        """Queue a nack, as `Settler.ack` does; also raises `CapabilityError`."""
        if not self._capabilities.nack:
            raise CapabilityError("this layer cannot nack; leave the message to its lease")
        if delay and not self._capabilities.nack_delay:
            raise CapabilityError("this layer cannot delay a nack; nack without delay=")
        return self._settler.settle(entry, Verb.NACK, delay, None)

    def reject(self, entry: InFlight, reason: str) -> Flush | None:
        """Queue a rejection and its dead letter, as `nack` does."""
        if not self._capabilities.reject:
            raise CapabilityError("this layer cannot reject; ack the message instead")
        return self._settler.settle(entry, Verb.REJECT, 0.0, self._dead_letter(entry, reason))

    async def extend(self, entry: InFlight, seconds: float) -> None:
        """Let the lease of `entry` end `seconds` from now."""
        await self._renewer.extend(entry, seconds)

    def forget(self, entry: InFlight) -> None:
        """Note that the user let go of `entry` unsettled.

        Called by the garbage collector, from any thread, at any moment: so it only appends.
        """
        self._forgotten.append(entry)

    def retry_delay(self, attempt: int) -> float:
        """Return the delay of the nack after the handler of delivery number `attempt` failed."""
        if not self._capabilities.nack_delay:
            return 0.0
        return self._options.redelivery.backoff.delay(attempt)

    @property
    def has_dead_letters(self) -> bool:
        """Whether there is a topic for dead letters."""
        return self._options.redelivery.dead_letter is not None

    def dead_letter_it(self, entry: InFlight, reason: str) -> bool:
        """Send `entry` to the dead letters; False, and nothing done, if they have no topic."""
        if not self.has_dead_letters:
            return False
        self._dying[entry] = reason
        self.reject(entry, reason)
        logger.warning("message %s goes to the dead letters: %s", entry.leased.record.id, reason)
        return True

    def take_error(self) -> AckedError | None:
        """Return, once, what a settlement met that nobody waited for."""
        error_of, self._error = self._error, None
        return error_of

    async def leave(self, *, interrupted: bool) -> None:
        """Stop receiving, send what is queued, give back what is unsettled; in this order."""
        try:
            await self._receiving.stop()
            self._settler.close()
            await self._settling.ended()
            self._settler.abandon()  # a task may have asked for more before this one woke
            await self._give_back(interrupted=interrupted)
        finally:
            self._tracker.give_back(self._tracker.open, seen=True)
            for service in self.services:
                service.end()

    def _dead_letter(self, entry: InFlight, reason: str) -> Record | None:
        topic = self._options.redelivery.dead_letter
        if topic is None:
            return None
        return dead_letter(entry.leased, topic, group=self._options.group, reason=reason)

    def _accept(self, entries: list[InFlight]) -> Sequence[InFlight]:
        """Return what may be handed out; what had its deliveries goes to the dead letters."""
        redelivery = self._options.redelivery
        if redelivery.max_deliveries is None:
            return entries
        exhausted = [d for d in entries if redelivery.exhausted(d.leased.attempt)]
        for entry in exhausted:
            self.dead_letter_it(entry, f"delivered {redelivery.max_deliveries} times")
        return [d for d in entries if d.state is State.HELD]

    async def _keep(self) -> None:
        try:
            while True:
                await self._renewer.renew_due()
                self._requeue_what_was_left()
                self._retry_dead_letters()
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.fetcher.fail(layer_failure(error, "extending leases"))

    def _requeue_what_was_left(self) -> None:
        """Let come again what the user forgot, and what stayed unconfirmed for a whole turn.

        The reader may hold on to the latter for ever: after `AckUnconfirmed` many go on to the
        next message and wait for it.
        """
        delay = self._options.lease if self._capabilities.nack_delay else 0.0
        while self._forgotten:
            self._requeue(self._forgotten.popleft(), delay)
        before, since = self._unconfirmed
        self._unconfirmed = (since, set())
        for entry in before:
            self._requeue(entry, 0.0)

    def _requeue(self, entry: InFlight, delay: float) -> None:
        if entry.state is not State.HELD or entry in self._dying:
            return
        if self._capabilities.nack:
            self._settler.requeue(entry, delay)
        else:
            self._tracker.expire([entry])  # not renewed any more, its lease ends by itself

    def _retry_dead_letters(self) -> None:
        """Bury again what could not be: it stays owed until its copy was accepted."""
        open_entries = self._tracker.open
        self._dying = {d: reason for d, reason in self._dying.items() if d in open_entries}
        for entry, reason in self._dying.items():
            if entry.state is State.HELD:
                logger.warning("message %s: its dead letter failed", entry.leased.record.id)
                self.reject(entry, reason)

    def _on_error(self, error: AckedError) -> None:
        self._error = self._error or error
        self.fetcher.arrived.set()

    def _note_unconfirmed(self, entry: InFlight) -> None:
        """Note that nobody knows whether `entry` is settled: it may be tried again, for a while."""
        before, since = self._unconfirmed
        before.discard(entry)
        since.add(entry)

    def _expire(self, lost: set[InFlight]) -> None:
        self.fetcher.drop(lost)
        self._tracker.expire(lost)

    async def _give_back(self, *, interrupted: bool) -> None:
        """Return what is unsettled: an attempt is charged only for what the user saw and left.

        A layer that cannot do it now is logged: leases end by themselves.
        """
        buffered = list(self.fetcher.buffer)
        self.fetcher.buffer.clear()
        self._tracker.give_back(buffered, seen=False)
        seen = [entry for entry in self._tracker.open if entry.state is State.HELD]
        self._tracker.give_back(seen, seen=True)
        charge = not interrupted and self._capabilities.nack
        released = buffered if charge else buffered + seen
        try:
            if charge and seen:
                await self._feed.settle([Settlement(d.leased.token, Verb.NACK) for d in seen])
            if released and self._capabilities.release:
                await self._feed.release([entry.leased.token for entry in released])
        except Exception as error:
            failure = layer_failure(error, "giving back what is unsettled")
            logger.warning("%s", failure, exc_info=error)
