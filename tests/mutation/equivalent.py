"""Mutants that keep every promise, each with the reason; so no test can, or should, kill them."""

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {
    "memory_queue.MemoryQueueLayer.publish: self._before_checkpoint < 0 -> "
    "(self._before_checkpoint <= 0)": "others get their turn one record earlier",
    "memory_queue._feed.MemoryQueueFeed._wait: await anyio.sleep_forever() -> pass": (
        "then it sleeps until infinity, which no clock reaches"
    ),
    "memory_queue._feed.MemoryQueueFeed._settle: settlement.delay > 0 -> (settlement.delay >= 0)": (
        "a delay of nothing is over when anybody looks"
    ),
    "_memory_group.GroupQueue._drop_untrue_ends: len(self._ends) > 2 * self.held + SPARE_ENDS -> "
    "(len(self._ends) >= 2 * self.held + SPARE_ENDS)": "the heap is built anew one entry earlier",
    "_memory_group.GroupQueue._drop_untrue_ends: len(self._ends) > 2 * self.held + SPARE_ENDS -> "
    "(len(self._ends) <= 2 * self.held + SPARE_ENDS)": (
        "the heap is built anew each time while it is small: slower, and never larger"
    ),
    "ledger.InFlightTracker.room: messages <= 0 -> (messages < 0)": "none is the smallest of all at 0",
    "ledger.InFlightTracker.room: bytes_left <= 0 -> (bytes_left < 0)": "in_flight_bytes, and one message",
    "ledger.InFlightTracker.should_fetch: room * 2 >= self._in_flight -> (room * 2 > self._in_flight)": (
        "it asks one message later; who waits for more is fetched for all the same"
    ),
    "ledger.InFlightTracker._are_all_acked: outcomes.count(Outcome.CONFIRMED) < count -> "
    "(outcomes.count(Outcome.CONFIRMED) <= count)": "the long way round comes to the same",
    "ledger.InFlightTracker._are_all_acked: [debt.state for debt in debts].count(_ACKING) < count -> "
    "([debt.state for debt in debts].count(_ACKING) <= count)": "as above",
    "debts.AckSubscription.__anext__: self._reads < 0 -> (self._reads <= 0)": (
        "it looks one read earlier whether others are due a turn"
    ),
    "subscription.Subscription._take_turns: self._reads < 0 -> (self._reads <= 0)": "as above",
    "subscription.Subscription._take_turns: monotonic() - self._turn_began >= TURN -> "
    "(monotonic() - self._turn_began > TURN)": "no two readings of a clock are that equal",
    "subscription.Batches.__anext__: self._wait > 0 -> (self._wait >= 0)": (
        "a wait of nothing takes what is there, after one checkpoint more"
    ),
}
