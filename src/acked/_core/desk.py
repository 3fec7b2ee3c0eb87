"""Where the deliveries of one subscription are settled: what is asked for, checked and queued.

Policy of debts lives here and nowhere else: dead letters, the limit of deliveries, what happens to
the unsettled on leaving. Sending is the settler's, leases are the keeper's.
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from acked._core.dead_letters import dead_letter
from acked._core.failure import layer_failure
from acked._core.keeper import Keeper
from acked._core.ledger import Debt, Ledger
from acked._core.options import DebtOptions
from acked._core.pump import Pump
from acked._core.service import Service
from acked._core.settler import Flush, Settler
from acked._machines.settlement import State
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, CapabilityError
from acked.types import Capabilities, Record, Settlement, Verb

__all__ = ("SettlementDesk",)

logger = logging.getLogger("acked.subscription")


class SettlementDesk:
    """Settles, extends, buries, gives back; one for each subscription."""

    def __init__(
        self,
        feed: AckFeed,
        capabilities: Capabilities,
        ledger: Ledger,
        options: DebtOptions,
        clock: Clock,
    ) -> None:
        self.pump: Final = Pump(feed, ledger, options, clock, self._accept)
        self._feed = feed
        self._capabilities = capabilities
        self._ledger = ledger
        self._options = options
        pipelined = not options.confirm_acks
        self._settler = Settler(
            feed, ledger, pipelined=pipelined, alarm=self._alarm, doubt=self._doubt
        )
        self.ack: Final = self._settler.ack  # as it is: a call less on the hot path
        self._keeper = Keeper(
            feed,
            capabilities,
            ledger,
            clock,
            lease=options.lease,
            max_lease=options.max_lease,
            on_lost=self._lose,
        )
        self._trouble: AckedError | None = None
        self._forgotten: deque[Debt] = deque()
        self._in_doubt: tuple[set[Debt], set[Debt]] = (set(), set())
        """Since before the last turn of the keeper, and since then."""
        self._burials: dict[Debt, str] = {}
        self._receiving = Service(self.pump.run)
        self._settling = Service(self._settler.run)
        self._keeping = Service(self._keep)
        self.services: Final = (self._receiving, self._settling, self._keeping)

    def nack(self, debt: Debt, delay: float) -> Flush | None:
        """Queue a nack, as `Settler.ack` does; also raises `CapabilityError`."""
        if not self._capabilities.nack:
            raise CapabilityError("this layer cannot nack; leave the message to its lease")
        if delay and not self._capabilities.nack_delay:
            raise CapabilityError("this layer cannot delay a nack; nack without delay=")
        return self._settler.settle(debt, Verb.NACK, delay, None)

    def reject(self, debt: Debt, reason: str) -> Flush | None:
        """Queue a rejection and its dead letter, as `nack` does."""
        if not self._capabilities.reject:
            raise CapabilityError("this layer cannot reject; ack the message instead")
        return self._settler.settle(debt, Verb.REJECT, 0.0, self._letter(debt, reason))

    async def extend(self, debt: Debt, seconds: float) -> None:
        """Let the lease of `debt` end `seconds` from now."""
        await self._keeper.extend(debt, seconds)

    def forget(self, debt: Debt) -> None:
        """Note that the user let go of `debt` unsettled.

        Called by the garbage collector, from any thread, at any moment: so it only appends.
        """
        self._forgotten.append(debt)

    def retry_delay(self, attempt: int) -> float:
        """Return the delay of the nack after the handler of delivery number `attempt` failed."""
        if not self._capabilities.nack_delay:
            return 0.0
        return self._options.redelivery.backoff.delay(attempt)

    @property
    def buries(self) -> bool:
        """Whether there is a topic for dead letters."""
        return self._options.redelivery.dead_letter is not None

    def bury(self, debt: Debt, reason: str) -> bool:
        """Send `debt` to the dead letters; False, and nothing done, if they have no topic."""
        if not self.buries:
            return False
        self._burials[debt] = reason
        self.reject(debt, reason)
        logger.warning("message %s goes to the dead letters: %s", debt.leased.record.id, reason)
        return True

    def take_trouble(self) -> AckedError | None:
        """Return, once, what a settlement met that nobody waited for."""
        trouble, self._trouble = self._trouble, None
        return trouble

    async def leave(self, *, interrupted: bool) -> None:
        """Stop receiving, send what is queued, give back what is unsettled; in this order."""
        try:
            await self._receiving.stop()
            self._settler.close()
            await self._settling.ended()
            self._settler.abandon()  # a task may have asked for more before this one woke
            await self._give_back(interrupted=interrupted)
        finally:
            self._ledger.give_back(self._ledger.open, seen=True)
            for service in self.services:
                service.end()

    def _letter(self, debt: Debt, reason: str) -> Record | None:
        topic = self._options.redelivery.dead_letter
        if topic is None:
            return None
        return dead_letter(debt.leased, topic, group=self._options.group, reason=reason)

    def _accept(self, debts: list[Debt]) -> Sequence[Debt]:
        """Return what may be handed out; what had its deliveries goes to the dead letters."""
        redelivery = self._options.redelivery
        if redelivery.max_deliveries is None:
            return debts
        exhausted = [d for d in debts if redelivery.exhausted(d.leased.attempt)]
        for debt in exhausted:
            self.bury(debt, f"delivered {redelivery.max_deliveries} times")
        return [d for d in debts if d.state is State.HELD]

    async def _keep(self) -> None:
        try:
            while True:
                await self._keeper.turn()
                self._take_back_what_was_left()
                self._retry_burials()
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.pump.fail(layer_failure(error, "extending leases"))

    def _take_back_what_was_left(self) -> None:
        """Let come again what the user forgot, and what stayed in doubt for a whole turn.

        The reader may hold on to the latter for ever: after `AckUnconfirmed` many go on to the
        next message and wait for it.
        """
        delay = self._options.lease if self._capabilities.nack_delay else 0.0
        while self._forgotten:
            self._take_back(self._forgotten.popleft(), delay)
        before, since = self._in_doubt
        self._in_doubt = (since, set())
        for debt in before:
            self._take_back(debt, 0.0)

    def _take_back(self, debt: Debt, delay: float) -> None:
        if debt.state is not State.HELD or debt in self._burials:
            return
        if self._capabilities.nack:
            self._settler.take_back(debt, delay)
        else:
            self._ledger.lose([debt])  # not renewed any more, its lease ends by itself

    def _retry_burials(self) -> None:
        """Bury again what could not be: it stays owed until its copy was accepted."""
        open_debts = self._ledger.open
        self._burials = {d: reason for d, reason in self._burials.items() if d in open_debts}
        for debt, reason in self._burials.items():
            if debt.state is State.HELD:
                logger.warning("message %s: its dead letter failed", debt.leased.record.id)
                self.reject(debt, reason)

    def _alarm(self, error: AckedError) -> None:
        self._trouble = self._trouble or error
        self.pump.arrived.set()

    def _doubt(self, debt: Debt) -> None:
        """Note that nobody knows whether `debt` is settled: it may be tried again, for a while."""
        before, since = self._in_doubt
        before.discard(debt)
        since.add(debt)

    def _lose(self, lost: set[Debt]) -> None:
        self.pump.drop(lost)
        self._ledger.lose(lost)

    async def _give_back(self, *, interrupted: bool) -> None:
        """Return what is unsettled: an attempt is charged only for what the user saw and left.

        A layer that cannot do it now is logged: leases end by themselves.
        """
        buffered = list(self.pump.buffer)
        self.pump.buffer.clear()
        self._ledger.give_back(buffered, seen=False)
        seen = [debt for debt in self._ledger.open if debt.state is State.HELD]
        self._ledger.give_back(seen, seen=True)
        charge = not interrupted and self._capabilities.nack
        released = buffered if charge else buffered + seen
        try:
            if charge and seen:
                await self._feed.settle([Settlement(d.leased.token, Verb.NACK) for d in seen])
            if released and self._capabilities.release:
                await self._feed.release([debt.leased.token for debt in released])
        except Exception as error:
            failure = layer_failure(error, "giving back what is unsettled")
            logger.warning("%s", failure, exc_info=error)
