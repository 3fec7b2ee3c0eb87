"""Mutants that keep every promise, each with the reason; so no test can, or should, kill them."""

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {
    "layers/memory_queue/__init__ MemoryQueueLayer.publish: self._before_checkpoint < 0 -> "
    "(self._before_checkpoint <= 0)": "others get their turn one record earlier",
    "layers/memory_queue/_feed MemoryQueueFeed._wait: await anyio.sleep_forever() -> pass": (
        "then it sleeps until infinity, which no clock reaches"
    ),
    "layers/memory_queue/_feed MemoryQueueFeed._settle: settlement.delay > 0 -> "
    "(settlement.delay >= 0)": "a delay of nothing is over when anybody looks",
    "layers/memory_queue/_group GroupQueue._drop_untrue_ends: len(self._ends) > 2 * self.held + "
    "SPARE_ENDS -> (len(self._ends) >= 2 * self.held + SPARE_ENDS)": (
        "the heap is built anew one entry earlier"
    ),
    "layers/memory_queue/_group GroupQueue._drop_untrue_ends: len(self._ends) > 2 * self.held + "
    "SPARE_ENDS -> (len(self._ends) <= 2 * self.held + SPARE_ENDS)": (
        "the heap is built anew each time while it is small: slower, and never larger"
    ),
    "layers/memory_queue/_group GroupQueue._drop_untrue_ends: "
    "if len(self._ends) > 2 * self.held + SPARE_ENDS: -> "
    "if len(self._ends) > 3 * self.held + SPARE_ENDS:": ("the heap is built anew a little later"),
    "_core/ack/in_flight InFlightTracker.free_slots: messages <= 0 -> (messages < 0)": (
        "none is the smallest of all at 0"
    ),
    "_core/ack/in_flight InFlightTracker.free_slots: bytes_left <= 0 -> (bytes_left < 0)": (
        "in_flight_bytes, and one message"
    ),
    "_core/ack/in_flight InFlightTracker._are_all_acked: "
    "[entry.state for entry in entries].count(_ACKING) < count -> "
    "([entry.state for entry in entries].count(_ACKING) <= count)": (
        "the long way round comes to the same"
    ),
    "_core/ack/subscription AckSubscription.__anext__: self._reads < 0 -> (self._reads <= 0)": (
        "it looks one read earlier whether others are due a turn"
    ),
    "_core/subscription Subscription._take_turns: self._reads < 0 -> (self._reads <= 0)": "as above",
    "_core/subscription Subscription._take_turns: monotonic() - self._turn_began >= TURN -> "
    "(monotonic() - self._turn_began > TURN)": "no two readings of a clock are that equal",
    "_core/subscription Batches.__anext__: self._wait > 0 -> (self._wait >= 0)": (
        "a wait of nothing takes what is there, after one checkpoint more"
    ),
    "_machines/glob _matches: star = resume = -1 -> star = resume = -2": "less than no place is no place, too: no star was seen yet",
    "_machines/settlement Step: NOTHING = 2 -> NOTHING = 3": "a step is known by its name; its number is nobody's matter",
    "layers/postgres_notify/_statements statement: return MANY, (records[0].topic, payloads) -> "
    "return MANY, (records[1].topic, payloads)": "there are two or more, and all of one topic",
    "layers/postgres_notify/_listening ListenConnection.__init__: self._tries = 0 -> "
    "self._tries = 1": "the waits before the first connection begin with the second; then it is 0",
    "layers/memory MemoryLayer._listening: if not self._patterns: return found -> pass": (
        "a shortcut: where there are no patterns none matches"
    ),
    "layers/sqlite_queue/_claim Claim.__init__: self._bytes = 0 -> self._bytes = 1": (
        "a claim ends one byte earlier"
    ),
    "layers/redis_streams/_records leased_first: if len(fields) == 8 and fields[::2] == names: -> "
    "if len(fields) == 9 and fields[::2] == names:": "a shortcut: the long way comes to the same",
    "layers/kafka/_reader PartitionReader._tell_if_long: now - partition.paused_since < PAUSED_LONG -> "
    "(now - partition.paused_since <= PAUSED_LONG)": "no two readings of a clock are that equal",
    "layers/kafka/_unpacking _too_large: if length <= 0 or following > end: -> "
    "if length <= 1 or following > end:": "no batch is one byte long",
    "layers/kafka/_publisher KafkaPublisher.publish: loop.time() < given_up -> "
    "(loop.time() <= given_up)": "no two readings of a clock are that equal",
    'layers/kafka/_browsing _Reading._kept: leased = leased_first(Partition(place, Position(0, ""), '
    'NOBODY), records) -> leased = leased_first(Partition(place, Position(1, ""), NOBODY), records)': (
        "of that partition only the place is used"
    ),
    "layers/kafka/_browsing _Reading.page: self._parsing.end_if_due(now) -> pass": (
        "it goes on parsing leniently: slower, and to the same end"
    ),
}
