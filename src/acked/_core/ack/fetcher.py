"""From the layer's feed into the reader's buffer: as much as there is room for, and no more."""

from collections import deque
from collections.abc import Callable, Sequence

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.failure import layer_failure
from acked._core.notify import Notify
from acked._core.options import AckSettings
from acked._core.reconnect import ReconnectBudget
from acked.abc import AckFeed, Clock
from acked.errors import AckedError, LayerError
from acked.types import Leased

__all__ = ("Fetcher",)


class Fetcher:
    """Receives while there is room; after a lost connection tries again, with backoff.

    It asks for more when half of `in_flight` is free, or when the reader waits for more than is
    there: so a reader that settles one message after the other causes no request for each.
    """

    def __init__(
        self,
        feed: AckFeed,
        tracker: InFlightTracker,
        options: AckSettings,
        clock: Clock,
        accept: Callable[[list[InFlight]], Sequence[InFlight]],
    ) -> None:
        self.buffer: deque[InFlight] = deque()
        self.arrived = Notify()
        self.failure: AckedError | None = None
        self._feed = feed
        self._tracker = tracker
        self._accept = accept
        self._wanted = 1
        self._reconnect = ReconnectBudget(options.reconnect, options.reconnect_timeout, clock)

    async def run(self) -> None:
        """Feed the buffer until cancelled, or until the layer cannot go on."""
        try:
            while True:
                limit = await self._free_slots()
                try:
                    batch = await self._feed.receive(limit)
                except LayerError as error:
                    await self._reconnect.wait(error)
                else:
                    self._reconnect.reset()
                    self._take(batch)
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.fail(layer_failure(error, "receiving"))

    async def wait_for_more(self, wanted: int) -> None:
        """Wait until more has arrived, for a reader that wants `wanted` messages at once."""
        self._wanted = wanted
        self._tracker.freed.set()
        await self.arrived.wait()

    def fail(self, error: AckedError) -> None:
        """Let the reader raise `error` once it has read what is buffered."""
        self.failure = self.failure or error
        self.arrived.set()

    def drop(self, entries: set[InFlight]) -> None:
        """Take entries whose lease was lost out of the buffer: they may be another's now."""
        kept = [entry for entry in self.buffer if entry not in entries]
        self.buffer.clear()
        self.buffer.extend(kept)

    async def _free_slots(self) -> int:
        tracker = self._tracker
        while True:
            free_slots = tracker.free_slots()
            if free_slots and (len(self.buffer) < self._wanted or tracker.should_fetch(free_slots)):
                return free_slots
            await tracker.freed.wait()

    def _take(self, batch: Sequence[Leased]) -> None:
        self.buffer.extend(self._accept(self._tracker.add(batch)))
        self.arrived.set()
