"""From the layer's feed into the reader's buffer: as much as there is room for, and no more."""

from collections import deque
from collections.abc import Callable, Sequence

from acked._core.failure import layer_failure
from acked._core.ledger import Debt, Ledger
from acked._core.options import DebtOptions
from acked._core.patience import Patience
from acked._core.signal import Signal
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, ConnectionLost
from acked.types import Leased

__all__ = ("Pump",)


class Pump:
    """Receives while there is room; after a lost connection tries again, with backoff.

    It asks for more when half of `in_flight` is free, or when the reader waits for more than is
    there: so a reader that settles one message after the other causes no request for each.
    """

    def __init__(
        self,
        feed: AckFeed,
        ledger: Ledger,
        options: DebtOptions,
        clock: Clock,
        accept: Callable[[list[Debt]], Sequence[Debt]],
    ) -> None:
        self.buffer: deque[Debt] = deque()
        self.arrived = Signal()
        self.failure: AckedError | None = None
        self._feed = feed
        self._ledger = ledger
        self._accept = accept
        self._wanted = 1
        self._patience = Patience(options.reconnect, options.reconnect_timeout, clock)

    async def run(self) -> None:
        """Feed the buffer until cancelled, or until the layer cannot go on."""
        try:
            while True:
                limit = await self._room()
                try:
                    batch = await self._feed.receive(limit)
                except ConnectionLost as lost:
                    await self._patience.wait(lost)
                else:
                    self._patience.rewarded()
                    self._take(batch)
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.fail(layer_failure(error, "receiving"))

    async def arrival(self, wanted: int) -> None:
        """Wait until more has arrived, for a reader that wants `wanted` messages at once."""
        self._wanted = wanted
        self._ledger.freed.set()
        await self.arrived.wait()

    def fail(self, error: AckedError) -> None:
        """Let the reader raise `error` once it has read what is buffered."""
        self.failure = self.failure or error
        self.arrived.set()

    def drop(self, debts: set[Debt]) -> None:
        """Take debts whose lease was lost out of the buffer: they may be another's now."""
        kept = [debt for debt in self.buffer if debt not in debts]
        self.buffer.clear()
        self.buffer.extend(kept)

    async def _room(self) -> int:
        ledger = self._ledger
        while True:
            room = ledger.room()
            if room and (len(self.buffer) < self._wanted or ledger.worth_fetching(room)):
                return room
            await ledger.freed.wait()

    def _take(self, batch: Sequence[Leased]) -> None:
        self.buffer.extend(self._accept(self._ledger.admit(batch)))
        self.arrived.set()
