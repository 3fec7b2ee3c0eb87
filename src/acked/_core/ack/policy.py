"""Where the deliveries of one subscription are settled: what is asked for, checked and queued.

What holds for every layer is decided here; sending is the settler's, leases are the renewer's.
"""

import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio

from acked._core.ack.dead_letter_headers import Reason
from acked._core.ack.dead_letters import PendingDeadLetters
from acked._core.ack.doubts import Doubts
from acked._core.ack.fetcher import RELEASE_WITHIN, Fetcher
from acked._core.ack.gatekeeper import Gatekeeper
from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.in_transaction import TransactionalAcks
from acked._core.ack.last_chance import LastChances
from acked._core.ack.lease_renewer import LeaseRenewer
from acked._core.ack.settler import Flush, Settler, is_refusal
from acked._core.background import BackgroundTask
from acked._core.home import EnteringTask
from acked._core.observer import Observer
from acked._core.options import AckSettings
from acked._core.pending_error import PendingError
from acked._machines.settlement import State, begin
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, CapabilityError, ChannelClosed, layer_failure
from acked.types import Capabilities, Reply, Settlement, Verb

__all__ = ("SettlementPolicy",)

logger = logging.getLogger("acked.subscription")


class SettlementPolicy:
    """Settles, extends, sends to the dead letters, gives back; one for each subscription."""

    def __init__(
        self,
        feed: AckFeed,
        capabilities: Capabilities,
        tracker: InFlightTracker,
        options: AckSettings,
        clock: Clock,
        observer: Observer | None,
    ) -> None:
        self.fetcher: Final = Fetcher(
            feed, capabilities, tracker, options, clock, observer, self._accept
        )
        self._feed, self._capabilities = feed, capabilities
        self._tracker, self._options = tracker, options
        self.group: Final = options.group
        self._observer = observer
        self._settler = Settler(
            feed,
            tracker,
            observer,
            pipelined=not options.confirm_acks,
            on_error=self._on_error,
            on_unconfirmed=self._note_unconfirmed,
        )
        self.ack: Final = self._settler.ack  # as it is: a call less on the hot path
        self.ack_all: Final = self._settler.ack_all
        self._gate = Gatekeeper(tracker, self.give_up, self.ack)
        self.transactional: Final = TransactionalAcks(feed, tracker, observer)
        self._renewer = LeaseRenewer(
            feed,
            capabilities,
            tracker,
            clock,
            options,
            observer,
            on_lost=self._expire,
            on_outlived=self._take_back,
        )
        self._owner, self._error, self._doubts = EnteringTask(), PendingError(), Doubts()
        self._forgotten, self._giving_back = deque[InFlight](), anyio.Lock()
        self._dead_letters = PendingDeadLetters(options.redelivery.dead_letter, options.group)
        parts = (self.fetcher, tracker, options, clock)
        self._last_chances = LastChances(feed, *parts, self.give_up, self._expire)
        receiving = (*self.fetcher.runs, *self._last_chances.runs(capabilities))
        runs = (self._settler.run, self._keep, *receiving)
        self.services: Final = tuple(map(BackgroundTask, runs))
        self._settling, _, *self._receiving = self.services

    def nack(self, entry: InFlight, delay: float) -> Flush | None:
        """Queue a nack, as `Settler.ack` does; also raises `CapabilityError`."""
        if not self._capabilities.nack:
            raise CapabilityError("this layer cannot nack; leave the message to its lease")
        if delay and not self._capabilities.nack_delay:
            raise CapabilityError("this layer cannot delay a nack; nack without delay=")
        return self._settler.settle(entry, Verb.NACK, delay, None)

    def reject(self, entry: InFlight, reason: Reason) -> Flush | None:
        """Queue a rejection and its dead letter, as `nack` does."""
        if not self._capabilities.reject:
            raise CapabilityError("this layer cannot reject; ack the message instead")
        letter = self._dead_letters.letter(entry, reason)
        flush = self._settler.settle(entry, Verb.REJECT, 0.0, letter)
        self._dead_letters.wait_for(entry, reason)
        return flush

    async def extend(self, entry: InFlight, seconds: float) -> None:
        """Let the lease of `entry` end `seconds` from now."""
        await self._renewer.extend(entry, seconds)

    async def release(self, entries: Sequence[InFlight]) -> None:
        """Give `entries` back, uncharged; one that is not held any more raises, and none is."""
        if not self._capabilities.release:
            raise CapabilityError("this layer cannot give a message back uncharged; nack it")
        for entry in entries:
            if entry.state is not State.HELD:  # one of the two contradicts what it was settled as
                begin(entry.state, Verb.NACK)
                begin(entry.state, Verb.REJECT)
        self._tracker.give_back(entries, seen=True)
        with anyio.move_on_after(RELEASE_WITHIN, shield=True):  # cancelled, it is done all the same
            async with self._giving_back:
                await self._feed.release([entry.leased.token for entry in entries])

    def forget(self, entry: InFlight) -> None:
        """Note that the user let go of `entry` unsettled.

        Called by the garbage collector, from any thread, at any moment: so it only appends.
        """
        self._forgotten.append(entry)

    def retry_delay(self, attempt: int) -> float:
        """Return the delay of the nack after the handler of delivery number `attempt` failed."""
        if not self._capabilities.nack_delay:
            return 0.0
        chance = random.random()  # noqa: S311 - no secret
        return self._options.redelivery.backoff.delay(attempt, chance)

    @property
    def has_dead_letters(self) -> bool:
        """Whether they have a topic."""
        return self._options.redelivery.dead_letter is not None

    def give_up(self, entry: InFlight, reason: str) -> bool:
        """Send `entry`, which nobody has seen, to the dead letters; False if they have no topic."""
        if not self.has_dead_letters:
            return False
        self._tracker.hidden.add(entry)
        self.reject(entry, Reason(reason))
        logger.warning("message %r goes to the dead letters: %s", entry.leased.record.id, reason)
        return True

    def take_error(self) -> AckedError | None:
        """Return, once, what a settlement met that nobody waited for."""
        return self._error.take()

    async def renew_before_handing_out(self) -> None:
        """Renew, or lose, what is buffered and may not be ours any more."""
        await self._renewer.renew_before_handing_out(self.fetcher.buffer)

    async def stop_receiving(self) -> None:
        """Receive nothing more, and give back at once what nobody has seen."""
        for service in self._receiving:
            await service.stop()
        unseen = self.fetcher.take_unseen()
        self._tracker.give_back(unseen, seen=False)
        await self._release(unseen, charge=False)

    async def leave(self, *, interrupted: bool) -> None:
        """Stop receiving, send what is queued, give back what is unsettled; in this order.

        An attempt is charged for what the user saw and was not interrupted at.
        """
        try:
            await self.stop_receiving()
            self._settler.close()
            await self._settling.ended()
            self._settler.abandon()  # a task may have asked for more before this one woke
            await self.abandon(charge=not interrupted)
        finally:
            self._tracker.give_back(self._tracker.open, seen=True)
            self._last_chances.leave()
            for service in self.services:
                service.end()

    async def abandon(self, *, charge: bool) -> None:
        """Give back what is held: from now on it cannot be settled any more."""
        held = [entry for entry in self._tracker.open if entry.state is State.HELD]
        self._tracker.give_back(held, seen=True)
        await self._release(held, charge=charge)

    async def _release(self, entries: Sequence[InFlight], *, charge: bool) -> None:
        """Let `entries` come again. A layer that cannot now is logged: leases end by themselves."""
        tokens = [entry.leased.token for entry in entries]
        try:
            async with self._giving_back:  # by a channel that closes while we leave, for instance
                if tokens and charge and self._capabilities.nack:
                    await self._feed.settle([Settlement(one, Verb.NACK) for one in tokens])
                elif tokens and self._capabilities.release:
                    await self._feed.release(tokens)
        except Exception as error:
            failure = layer_failure(error, "giving back what is unsettled")
            logger.warning("%s", failure, exc_info=error)

    def _accept(self, entries: list[InFlight]) -> Sequence[InFlight]:
        """Return what may be handed out beside others; what is left is seen to."""
        return self._last_chances.accept(self._gate.let_in(entries))

    async def _keep(self) -> None:
        try:
            while True:
                await self._renewer.renew_due()
                if self._owner.has_ended():
                    return await self._leave_ownerless()
                self._requeue_what_was_forgotten()
                await self._take_back_what_is_in_doubt()
                self._retry_dead_letters()
                self._last_chances.look()
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.fetcher.fail(layer_failure(error, "extending leases"))

    async def _leave_ownerless(self) -> None:
        """Give back what the subscription of a task that has ended holds, once and with a word."""
        left_open = self._owner.has_left_open(f"a subscription as {self._options.group!r}")
        error = ChannelClosed(left_open)
        logger.warning("%s", error)
        self.fetcher.shut(error)
        await self.stop_receiving()
        await self.abandon(charge=False)

    def _requeue_what_was_forgotten(self) -> None:
        """Let come again, after a while, what the user let go of unsettled."""
        delay = self._options.lease if self._capabilities.nack_delay else 0.0
        while self._forgotten:
            self._requeue(self._forgotten.popleft(), delay)

    async def _take_back_what_is_in_doubt(self) -> None:
        due = [entry for entry in self._doubts.due() if entry not in self._dead_letters]
        if self.fetcher.gives_back:
            self._tracker.expire(due, seen=True)  # from now on the user can settle them no more
            await self._release(due, charge=False)
            return
        for entry in due:
            self._requeue(entry, 0.0)

    def _requeue(self, entry: InFlight, delay: float) -> None:
        if entry.state is not State.HELD or entry in self._dead_letters:
            return
        if self._capabilities.nack:
            self._settler.requeue(entry, delay)
        else:  # not renewed any more, its lease ends by itself
            self._tracker.expire([entry], seen=True)

    async def _take_back(self, outlived: Sequence[InFlight]) -> None:
        """Let come again what was ours for longer than `max_lease`: a handler, or reader, hangs.

        An attempt is charged for what the user saw and not for what only waited to be read.
        """
        held = [entry for entry in outlived if entry.state is State.HELD]
        unseen = self.fetcher.drop(set(held))
        for entry in held:
            logger.warning(
                "message %r was held for longer than max_lease=%g s and comes again",
                entry.leased.record.id,
                self._options.max_lease,
            )
            if entry not in unseen:
                self._dead_letters.forget(entry)
                self._requeue(entry, 0.0)
        self._tracker.give_back(unseen, seen=False)
        # Race: who leaves meanwhile finds them gone already, so they must have been given back.
        with anyio.move_on_after(RELEASE_WITHIN, shield=True):
            await self._release(list(unseen), charge=False)

    def _retry_dead_letters(self) -> None:
        """Reject again what could not be; what cannot be at all gives its place back."""
        delay = self._options.lease if self._capabilities.nack_delay else 0.0
        for entry, letter in self._dead_letters.due(self._tracker.open):
            if letter is None:
                self._requeue(entry, delay)
            else:
                self._settler.settle(entry, Verb.REJECT, 0.0, letter)

    def _on_error(self, error: AckedError, count: int) -> None:
        self._error.note(error, count)
        self.fetcher.tell()

    def _note_unconfirmed(self, entry: InFlight, reply: Reply) -> None:
        """Note that `entry` is not known to be settled, and may be tried again for a while."""
        self._doubts.note(entry)
        if is_refusal(reply) and not reply.may_pass:
            self._dead_letters.refused(entry)

    def _expire(self, lost: set[InFlight]) -> None:
        unseen = self.fetcher.drop(lost)
        self._tracker.expire(unseen, seen=False)
        self._tracker.expire(lost - unseen, seen=True)
        if self._observer is not None:
            self._observer.lost([entry.leased for entry in lost])
