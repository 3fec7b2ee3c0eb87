"""Settlements on their way to the layer: coalesced without a timer, confirmed one by one.

One flush is in flight at a time; whatever is asked for meanwhile goes with the next one. So a
lone `ack()` leaves at once, a thousand concurrent ones share a few requests, and nothing waits
for a clock. No task, event or closure is made for a message: one event serves a whole flush.

Cancelling an `ack()` that waits does not stop its settlement: it leaves the message acked, or
delivered again if the connection breaks, and never lost.
"""

from collections.abc import Callable, Sequence

from acked._core.ledger import Debt, Ledger
from acked._core.signal import Signal
from acked._machines.settlement import Step, begin
from acked.abc import AckFeed
from acked.errors import AckedError, AckUnconfirmed, LayerError, LeaseLost
from acked.types import Outcome, Record, Settlement, Verb

__all__ = ("Flush", "Settler")


class Flush:
    """One request's worth of settlements, and who of them was not confirmed."""

    __slots__ = ("_answered", "_finished", "_troubles")

    def __init__(self) -> None:
        self._answered = Signal()
        self._finished = False
        self._troubles: dict[Debt, Outcome] = {}

    def finish(self, debts: Sequence[Debt], outcomes: Sequence[Outcome]) -> None:
        """Note the answers and wake everybody who waits for one."""
        pairs = zip(debts, outcomes, strict=True)
        self._troubles = {d: o for d, o in pairs if o in {Outcome.LOST, Outcome.UNKNOWN}}
        self._finished = True
        self._answered.set()

    async def wait(self) -> None:
        """Wait until the layer has answered."""
        while not self._finished:
            await self._answered.wait()

    def trouble(self, debt: Debt) -> AckedError | None:
        """Return what to raise for `debt`, or None when its settlement was carried out."""
        outcome = self._troubles.get(debt)
        return None if outcome is None else trouble(debt, outcome)

    def first_trouble(self) -> AckedError | None:
        """Return what to raise for the first settlement that was not carried out, if any."""
        return next((trouble(debt, outcome) for debt, outcome in self._troubles.items()), None)


class Settler:
    """Collects settlements and sends them by `feed.settle`, one batch after the other."""

    def __init__(
        self, feed: AckFeed, ledger: Ledger, *, pipelined: bool, alarm: Callable[[AckedError], None]
    ) -> None:
        self._feed = feed
        self._ledger = ledger
        self._pipelined = pipelined
        self._alarm = alarm
        self._debts: list[Debt] = []
        self._settlements: list[Settlement] = []
        self._flush = Flush()
        self._sending: Flush | None = None
        self._work = Signal()
        self._closing = False

    def begin(
        self, debt: Debt, verb: Verb, delay: float = 0.0, dead_letter: Record | None = None
    ) -> Flush | None:
        """Queue a settlement; return the flush to wait for, or None if there is nothing to await.

        Raises `AlreadySettled` or `LeaseLost`, and then nothing has changed.
        """
        debt.state, step = begin(debt.state, verb)
        if step is Step.SEND:
            self._debts.append(debt)
            self._settlements.append(Settlement(debt.leased.token, verb, delay, dead_letter))
            self._work.set()
            return None if self._pipelined else self._flush
        if step is Step.NOTHING or self._pipelined:
            return None
        return self._flush if debt in self._debts else self._sending

    async def confirmed(self, debt: Debt, flush: Flush) -> None:
        """Wait for the answer to the settlement of `debt`; raise if it was not carried out."""
        await flush.wait()
        trouble = flush.trouble(debt)
        if trouble is not None:
            raise trouble

    async def run(self) -> None:
        """Send what is queued until `close()` was called and nothing is left."""
        try:
            while self._debts or not self._closing:
                if self._debts:
                    await self._send()
                else:
                    await self._work.wait()
        finally:
            self._abandon()

    def close(self) -> None:
        """Let `run` end as soon as everything queued was answered."""
        self._closing = True
        self._work.set()

    async def _send(self) -> None:
        debts, self._debts = self._debts, []
        batch, self._settlements = self._settlements, []
        flush, self._flush = self._flush, Flush()
        self._sending = flush
        outcomes: Sequence[Outcome] = [Outcome.UNKNOWN] * len(debts)
        try:
            outcomes = await self._feed.settle(batch)
        except LayerError as error:
            self._alarm(error)
        finally:
            self._answered(flush, debts, outcomes)

    def _answered(self, flush: Flush, debts: list[Debt], outcomes: Sequence[Outcome]) -> None:
        self._ledger.settled(debts, outcomes)
        flush.finish(debts, outcomes)
        trouble = flush.first_trouble() if self._pipelined else None
        if trouble is not None:
            self._alarm(trouble)

    def _abandon(self) -> None:
        """Answer UNKNOWN to what can no longer be sent, so that nobody waits for ever."""
        debts, self._debts, self._settlements = self._debts, [], []
        if debts:
            self._answered(self._flush, debts, [Outcome.UNKNOWN] * len(debts))


def trouble(debt: Debt, outcome: Outcome) -> AckedError:
    """Return the error that says what became of a settlement that was not confirmed."""
    leased = debt.leased
    name = f"message {leased.record.id} of topic {leased.record.topic!r}"
    if outcome is Outcome.LOST:
        return LeaseLost(
            f"{name} was settled after its lease had ended: nothing was changed, it may be "
            "delivered again; give a longer lease= or handle it faster"
        )
    return AckUnconfirmed(
        f"the connection broke before the broker confirmed the settlement of {name}: it may be "
        "settled, or it will be delivered again"
    )
