"""From the layer's feed into the reader's buffer: what the reader will handle soon, and no more."""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import anyio

from acked._core.ack.in_flight import InFlight, InFlightTracker, LeaseSpan
from acked._core.notify import Notify
from acked._core.observer import Observer
from acked._core.options import AckSettings
from acked._core.reconnect import ReconnectBudget
from acked._machines.window_size import WindowSize
from acked.abc import AckFeed, Clock
from acked.clocks import system_time
from acked.errors import AckedError, LayerError, layer_failure
from acked.types import Capabilities, Leased

__all__ = ("Fetcher",)

UNSEEN: Final = 1.0
"""Seconds after which what nobody has read is given back, where others could read it."""


RELEASE_WITHIN: Final = 2.0
"""Seconds that giving back may take under cancellation; then leases end by themselves."""


class Fetcher:
    """Receives while there is room; after a lost connection tries again, with backoff.

    It fetches for readers that wait, and ahead of them as much as they handle in a moment (see
    `WindowSize`). A message that waits unseen for longer than `UNSEEN` is given back.
    """

    def __init__(
        self,
        feed: AckFeed,
        capabilities: Capabilities,
        tracker: InFlightTracker,
        options: AckSettings,
        clock: Clock,
        observer: Observer | None,
        accept: Callable[[list[InFlight]], Sequence[InFlight]],
    ) -> None:
        self.buffer: deque[InFlight] = deque()
        self.aside: deque[InFlight] = deque()
        """Out of the readers' reach: fetched while nothing is handed out."""
        self.last_chances: deque[InFlight] = deque()
        """To be handed out alone: see `LastChances`."""
        self.arrived = Notify()
        self.failure: AckedError | None = None
        self._feed = feed
        self._tracker = tracker
        self._lease = options.lease
        self._clock = clock
        self._observer = observer
        self._accept = accept
        self._window = WindowSize(options.in_flight)
        self._demand = 0
        self._unit = 1
        """How many the reader takes at once: less than that ahead would make its batches small."""
        self._gathered = Notify()
        # A lease that is the connection's is no other consumer's before the connection ends.
        self.gives_back: Final = capabilities.release and capabilities.lease == "timer"
        self._filled = Notify()
        self._is_shut = False
        self._is_paused = False
        self._reconnect = ReconnectBudget(
            options.reconnect, options.reconnect_timeout, clock, observer
        )

    @property
    def runs(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What must run in the background for it."""
        return (self.run, self.watch)

    async def run(self) -> None:
        """Feed the buffer until cancelled, or until the layer cannot go on."""
        try:
            while True:
                limit = await self._room()
                try:
                    batch = await self._feed.receive(limit)
                except LayerError as error:
                    await self._reconnect.wait(error)
                else:
                    self._take(batch)
                    failing: LayerError | None = getattr(self._feed, "failing", None)
                    if failing is None:
                        self._reconnect.reset()
                    else:  # a part of it, a shard for instance; the others go on
                        self._reconnect.spend(failing)
                    if self.gives_back and not self._demand and not self._window.size:
                        await self.give_back(self.buffer)  # for who is gone: it is others' now
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self.fail(layer_failure(error, "receiving"))

    async def watch(self) -> None:
        """See to it that nothing waits unseen for long while another consumer could have it."""
        while self.gives_back:
            if not self.buffer and not self.aside:
                await self._filled.wait()
            await self._clock.sleep_until(self._clock.time() + UNSEEN / 2)
            since = self._clock.time() - UNSEEN
            # A reader that gathers a batch waits for what is here: it is not unseen for nobody.
            for waiting in (self.aside,) if self._demand else (self.aside, self.buffer):
                if waiting and waiting[0].lease.since <= since:
                    self._window.reset()
                    await self.give_back(waiting)

    async def wait_for_more(self, count: int, wanted: int) -> None:
        """Wait until more has arrived, for a reader that needs `count` and would take `wanted`."""
        self._demand += wanted
        self._unit = wanted
        self._tracker.freed.set()
        try:
            await (self.arrived if count == 1 else self._gathered).wait()
        except BaseException:
            # Race: woken for a message, and cancelled: another reader must have it.
            self.arrived.wake(len(self.buffer))
            raise
        finally:
            self._demand -= wanted

    def fail(self, error: AckedError) -> None:
        """Let the reader raise `error` once it has read what is buffered."""
        self.failure = self.failure or error
        self.tell()

    def tell(self) -> None:
        """Wake all readers: there is something to raise."""
        self.arrived.set()
        self._gathered.set()

    def shut(self, error: AckedError) -> None:
        """Let the reader raise `error` at its next read: nothing more is handed out."""
        self._is_shut = True
        self._put_aside()
        self.fail(error)

    def pause(self) -> None:
        """Hand out nothing, and fetch nothing more, until `resume`."""
        self._is_paused = True
        self._put_aside()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        if not self._is_shut:
            self._hand_over(self.aside)
            self.aside.clear()
            self._tracker.freed.set()

    def hand_out(self, entry: InFlight) -> None:
        """Let a reader have `entry`, also while paused."""
        self._hand_over([entry])

    @property
    def is_receiving(self) -> bool:
        """Whether the broker answers, as far as is known."""
        return self.failure is None and not self._reconnect.is_lost

    @property
    def unseen(self) -> int:
        """How many were fetched and not handed out."""
        return len(self.buffer) + len(self.aside) + len(self.last_chances)

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits."""
        return self._demand > 0

    def take_unseen(self) -> list[InFlight]:
        """Return, once, what was fetched and nobody has seen."""
        return [entry for queue in self._queues for entry in _emptied(queue)]

    def drop(self, entries: set[InFlight]) -> set[InFlight]:
        """Take `entries` out of what nobody has seen, and return those that were there."""
        all_dropped: set[InFlight] = set()
        for queue in self._queues:
            dropped = entries.intersection(queue)
            if dropped:
                queue.extend([entry for entry in _emptied(queue) if entry not in dropped])
                all_dropped |= dropped
        return all_dropped

    async def give_back(self, queue: deque[InFlight], *, all_but: int = 0) -> None:
        """Release what is in `queue` after the first `all_but`, for others to have."""
        unseen = [queue.pop() for _ in range(len(queue) - all_but)]
        if unseen:
            self._tracker.give_back(unseen, seen=False)
            # Race: whoever leaves meanwhile must not find them neither here nor given back.
            with anyio.move_on_after(RELEASE_WITHIN, shield=True):
                await self._feed.release([entry.leased.token for entry in unseen])

    @property
    def _queues(self) -> tuple[deque[InFlight], ...]:
        return (self.aside, self.last_chances, self.buffer)

    def _put_aside(self) -> None:
        self.aside.extend(_emptied(self.buffer))
        self._filled.set()

    def _hand_over(self, entries: Collection[InFlight]) -> None:
        self.buffer.extend(entries)
        self.arrived.wake(len(entries))
        self._gathered.set()
        self._filled.set()

    async def _room(self) -> int:
        """Return how many messages to fetch, as soon as it is worth a request."""
        tracker, buffer, window = self._tracker, self.buffer, self._window
        while True:
            ahead, demand = len(buffer), self._demand
            size = window.size and max(window.size, self._unit)
            if (ahead < demand or 2 * ahead < size) and not self._is_paused:
                free_slots = tracker.free_slots()
                if free_slots:
                    return min(max(demand, size) - ahead, free_slots)
            await tracker.freed.wait()

    def _take(self, batch: Sequence[Leased]) -> None:
        now, ahead = self._clock.time(), len(self.buffer)
        self._window.fetched(self._tracker.fetched - ahead, now)
        leased_at: float | None = getattr(self._feed, "leased_at", None)
        # A span, since that moment is the system clock's, whatever the engine's clock is.
        age = 0.0 if leased_at is None else max(0.0, system_time() - leased_at)
        entries = self._tracker.add(batch, LeaseSpan(now, now - age + self._lease))
        if self._observer is not None:
            self._observer.fetched(batch)
        accepted = self._accept(entries)
        if self._is_shut or self._is_paused:
            self.aside.extend(accepted)
            self._filled.set()
        else:
            self._hand_over(accepted)


def _emptied(queue: deque[InFlight]) -> list[InFlight]:
    entries = list(queue)
    queue.clear()
    return entries
