"""The receiving half of a feed: what was left over, what is free again, what is new.

Three sources, in this order:

1. After a read that was cancelled or failed: entries that we own and have not seen. The server had
   delivered them, the reply was lost. Nobody has seen them, so no attempt is charged.
2. What is free again, of any other consumer: given back and due, or held beyond its lease. Looked
   for when a wake-up says so, when something becomes due, and otherwise four times a lease, at
   least every five seconds.
3. New entries, waiting for them no longer than until the next look.

If the second has brought something the third has its turn next, so neither starves the other.
What was published with a delay is handed out by a script only, which gives back what is not due.

Longer than 300 lines: the order of the sources, and what a cancellation finds, is read as one.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.client import Client
from acked.layers._redis.connection import Connection
from acked.layers._redis.errors import group_is_missing, says
from acked.layers._redis.reader import Reader
from acked.layers._redis.scripts import ScriptCall
from acked.layers.redis_streams._consumer_state import ConsumerState, logger
from acked.layers.redis_streams._leftovers import give_back_all, unknown_leases
from acked.layers.redis_streams._records import (
    Fields,
    TokenOf,
    as_ours,
    leased_again,
    leased_first,
)
from acked.layers.redis_streams._scripts import CLAIM, READ, RECOVER, REQUEUE
from acked.layers.redis_streams._upkeep import FORGOTTEN_AFTER, Upkeep
from acked.types import Leased

__all__ = ("Receiver",)

CLAIMS_IN_A_ROW: Final = 64
"""What came back is older, so it comes first; but it must not keep what is new away for ever."""
LONGEST_WAIT: Final = 5.0
"""Seconds between two looks for what is free again, and so the longest blocking read."""
LONGEST_SCAN: Final = 4.0
"""Seconds between two scans for ended leases, by one consumer of the group for all: less than
between two looks, so that one who is alone scans each time."""
SHORTEST_WAIT: Final = 0.02
"""Seconds between two looks with a very short lease: looking must stay cheap."""
NO_BOUND: Final = 1 << 20
"""Messages in one request, unless a connection was lost a short while ago."""
LARGEST_CLAIM: Final = 500
"""Messages that one script takes at most: the server does nothing else meanwhile."""
LARGEST_LOOK: Final = 200
"""Topics that one script looks at."""
LARGEST_READ: Final = 1000
"""Topics that one script reads."""


class Receiver:
    """Receives `topics` for one feed, over a connection of its own to the server they are on."""

    def __init__(self, way: Client, seat: ConsumerState, topics: Sequence[str]) -> None:
        places = {topic: seat.places[topic] for topic in topics}
        self.leased_at = seat.clock.time()
        """A moment before the request that brought what `look` has returned last."""
        self._way = way
        self._reader: Final = Reader(self._home)
        self._seat = seat
        self._topics = list(topics)
        self._streams = {place.stream: topic for topic, place in places.items()}
        self._wakes = {place.wake: topic for topic, place in places.items()}
        self._woken: set[str] = set()
        self._look_at = dict.fromkeys(self._topics, 0.0)
        self._interval = min(max(seat.lease / 4, SHORTEST_WAIT), LONGEST_WAIT)
        self._scan_every = min(max(seat.lease / 4, SHORTEST_WAIT), LONGEST_SCAN)
        self._upkeep = Upkeep(seat, topics)
        self._claims = 0
        self._most = NO_BOUND
        # Set while we may own entries that we have not seen; cancellation finds it set.
        self._unsure = False
        self._delayed: list[TokenOf] | None = None if seat.in_key_order else []
        """What was read and has a delay; None where only scripts may say what is handed out."""
        self.failing = None
        """Nothing goes on without us: what ends us ends `receive`."""

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Do what `AckFeed.receive` promises."""
        while True:
            found = await self.look(limit)
            if found:
                return found

    async def look(self, limit: int) -> Sequence[Leased]:
        """Do one turn of `receive`, which may bring nothing; it waits for five seconds at most."""
        limit = min(limit, self._most)
        try:
            found = await self._step(limit)
        except ConnectionLost:
            # Perhaps it was too much for a slow link: then the same again would fail again.
            self._most = max(1, limit // 2)
            raise
        if found:
            self._most = min(self._most + self._most // 8 + 1, NO_BOUND)
            # No await between the reply and here, so nothing is lost on the way.
            tokens = as_ours([leased.token for leased in found])
            self._seat.hold(tokens, self.leased_at + self._seat.lease)
        return found

    async def leave(self) -> None:
        """Close the connection, give back what is left, and let the server forget the consumer."""
        seat = self._seat
        try:
            await self._reader.leave()
            await give_back_all(await self._home(), seat, self._topics)
        except LayerError as error:
            logger.warning("consumer %s left without a word: %s", seat.consumer.decode(), error)

    async def _step(self, limit: int) -> list[Leased]:
        if not self._reader.is_open:
            self._unsure = True
            await self._reader.open()
        await self._let_go()
        await self._upkeep.tidy(self._reader)
        if self._unsure:
            found = await self._recover(limit)
            if found:
                return found
        topics = self._to_look_at()
        if topics and self._claims < CLAIMS_IN_A_ROW:
            found = await self._claim(topics, limit)
            self._claims += 1
            if found:
                return found
            topics = self._to_look_at()
        self._claims = 0
        found = await self._read(limit, 0.0 if topics else self._time_to_wait())
        if self._delayed:
            found += await self._past(self._delayed, limit - len(found))
        if len(found) > limit:
            await self._return(found[limit:])
        return found[:limit]

    async def _home(self) -> Connection:
        """Return the server that the topics are on now."""
        return await self._way.home(self._seat.places[self._topics[0]].stream)

    async def _let_go(self) -> None:
        """Give back what we cannot settle any more: nobody answered, and its lease has ended."""
        overdue = [one for one in self._seat.overdue() if one[0] in self._look_at]
        for topic, lease in overdue:
            await self._run(self._seat.call(REQUEUE, topic, b"0", b"0", lease))
        self._seat.forget(overdue)

    def _to_look_at(self) -> list[str]:
        now = anyio.current_time()
        return [topic for topic in self._topics if self._look_at[topic] <= now]

    def _time_to_wait(self) -> float:
        return max(0.001, min(self._look_at.values()) - anyio.current_time())

    def _turn(self, by: int = 1) -> None:
        """Let another topic come first the next time."""
        self._topics = [*self._topics[by:], *self._topics[:by]]

    async def _recover(self, limit: int) -> list[Leased]:
        found: list[Leased] = []
        self.leased_at = self._seat.clock.time()
        for topic in self._topics:
            after = b"-"
            while after and len(found) < limit:
                leases, after = await self._unknown(topic, after, limit - len(found))
                found += await self._take_own(topic, leases)
        self._unsure = len(found) >= limit
        return found

    async def _unknown(self, topic: str, after: bytes, most: int) -> tuple[list[bytes], bytes]:
        try:
            return await unknown_leases(self._reader, self._seat, topic, after, most)
        except LayerError as error:
            await self._heal_or_raise(error)
            return [], b""

    async def _past(self, delayed: list[TokenOf], room: int) -> list[Leased]:
        """Return what is due of `delayed`, which is emptied, and of what is new behind it."""
        some, delayed[:] = [*delayed], []
        found: list[Leased] = []
        self._unsure = True
        for topic, tokens in groupby(some, itemgetter(0)):
            leases = [lease for _, lease in tokens]
            for start in range(0, len(leases), LARGEST_CLAIM):
                page = leases[start : start + LARGEST_CLAIM]
                found += await self._take_own(topic, page, room - len(found))
        self._unsure = False
        return found

    async def _take_own(self, topic: str, leases: Sequence[bytes], room: int = 0) -> list[Leased]:
        call = self._seat.call(RECOVER, topic, b"%d" % room, *leases)
        reply = await self._run(call) if leases else None
        return self._taken(topic, reply) if reply is not None else []

    async def _claim(self, topics: list[str], limit: int) -> list[Leased]:
        found: list[Leased] = []
        self._turn()
        self._unsure = True
        self.leased_at = self._seat.clock.time()
        limit = min(limit, LARGEST_CLAIM)
        while topics and len(found) < limit:
            some, topics = topics[:LARGEST_LOOK], topics[LARGEST_LOOK:]
            reply = await self._run(self._claim_call(some, limit - len(found)))
            if reply is None:
                break
            now = anyio.current_time()
            for topic, told in zip(some, cast("list[list[object]]", reply), strict=False):
                self._woken.discard(topic)
                self._look_at[topic] = now + self._interval
                found += self._taken(topic, told)
                self._note_next_look(topic, cast("int", told[2]), more=bool(told[3]))
            topics = [one for one in some if self._look_at[one] <= now] + topics
        self._unsure = False
        return found

    def _claim_call(self, topics: Sequence[str], room: int) -> ScriptCall:
        seconds = (self._seat.lease, self._scan_every, FORGOTTEN_AFTER)
        numbers = [*(max(1, round(one * 1000)) for one in seconds), room]
        numbers += [int(topic in self._woken) for topic in topics]
        return self._seat.call_for_all(CLAIM, topics, *(b"%d" % one for one in numbers))

    def _note_next_look(self, topic: str, due: int, *, more: bool) -> None:
        now = anyio.current_time()
        if more:
            self._look_at[topic] = now
        elif due >= 0:
            self._look_at[topic] = min(self._look_at[topic], now + due / 1000)

    def _taken(self, topic: str, reply: Sequence[object]) -> list[Leased]:
        entries = cast("list[tuple[bytes, int, Fields]]", reply[0])
        self._seat.note_trimmed(topic, cast("int", reply[1]))
        return [leased_again(topic, *entry) for entry in entries]

    async def _read(self, limit: int, wait: float) -> list[Leased]:
        share = limit // len(self._topics)
        if share:
            return await self._read_group(self._topics, share, wait)
        # There is room for fewer messages than there are topics, and Redis counts by stream.
        for _ in range(0, len(self._topics), LARGEST_READ):
            found = await self._read_some(self._topics[:LARGEST_READ], limit)
            if found or self._delayed:
                return found
        return await self._read_group(self._topics, 1, wait) if wait else []

    async def _read_some(self, topics: Sequence[str], limit: int) -> list[Leased]:
        seat = self._seat
        keys = tuple(seat.places[topic].stream for topic in topics)
        self._unsure = True
        self.leased_at = seat.clock.time()
        most = b"%d" % min(limit, LARGEST_CLAIM)
        reply = await self._run(ScriptCall(READ, keys, (seat.group, seat.consumer, most)))
        if reply is None:
            return []
        self._unsure = False
        asked, replies = cast("tuple[int, list[tuple[int, list[tuple[bytes, Fields]]]]]", reply)
        self._turn(asked)
        return [one for at, entries in replies for one in self._new(topics[at - 1], entries)]

    async def _read_group(self, topics: list[str], count: int, wait: float) -> list[Leased]:
        places = [self._seat.places[topic] for topic in topics]
        keys = [place.stream for place in places] + [place.wake for place in places]
        words = [b"XREADGROUP", b"GROUP", self._seat.group, self._seat.consumer]
        words += [b"COUNT", b"%d" % count]
        if wait:
            words += [b"BLOCK", b"%d" % max(1, wait * 1000)]
        words += [b"STREAMS", *keys, *[b">"] * len(keys)]
        self._unsure = True
        self.leased_at = self._seat.clock.time()
        (reply,) = await self._reader.exchange([words], wait)
        if isinstance(reply, LayerError):
            if not says(reply, "via CLIENT UNBLOCK"):  # else somebody wanted us to look anew
                await self._heal_or_raise(reply)
            return []
        self._unsure = False
        return self._sorted_out(reply)

    def _sorted_out(self, reply: object) -> list[Leased]:
        """Return what is new, and note for which topics there was a wake-up."""
        found: list[Leased] = []
        for key, entries in cast("list[tuple[bytes, list[tuple[bytes, Fields]]]]", reply or []):
            topic = self._streams.get(key)
            if topic is not None:
                found += self._new(topic, entries)
            else:
                topic = self._wakes[key]
                self._woken.add(topic)
                self._look_at[topic] = 0.0
        return found

    def _new(self, topic: str, entries: Sequence[tuple[bytes, Fields]]) -> list[Leased]:
        return leased_first(topic, entries, self._delayed)

    async def _return(self, surplus: list[Leased]) -> None:
        """Give back at once what we got beyond the limit: it is there for others."""
        self._unsure = True
        for topic, lease in as_ours([leased.token for leased in surplus]):
            await self._run(self._seat.call(REQUEUE, topic, b"0", b"-1", lease))
        self._unsure = False

    async def _run(self, call: ScriptCall) -> Sequence[object] | None:
        """Run a script and return its reply; None if the group was missing and was made again."""
        (reply,) = await self._reader.run([call])
        if isinstance(reply, LayerError):
            await self._heal_or_raise(reply)
            return None
        return cast("Sequence[object]", reply)

    async def _heal_or_raise(self, error: LayerError) -> None:
        if not group_is_missing(error):
            await self._reader.close()  # what follows may need another server, or other rights
            raise error
        await self._seat.heal(self._reader.run, self._topics)
