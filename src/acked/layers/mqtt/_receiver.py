"""What one connection delivered: what waits, what is held, and which PUBACK may leave when.

Rules:

1. PUBACKs leave in the order in which the PUBLISHes arrived (MQTT 5, 4.6.0-2): a settlement waits
   for those before it.
2. A token is the connection's number and the place in it. What an earlier connection delivered is
   not held any more: nothing is ever acknowledged on another connection than it came by.
3. What was settled, but not PUBACKed as far as the broker knows, comes again after a reconnect. It
   is settled again without being delivered: whatever comes with its topic and id where its PUBACK
   never left; where it did, only what has the DUP flag and the same number, too, for somebody may
   have published the same id again. Only a message with an id of its publisher is recognised so:
   two others may look alike.
4. A QoS 0 message has nothing to acknowledge and no place in the order. The broker does not stop
   sending them, so of those that wait at most `limit` are kept.
5. What is of no topic that was subscribed to is no delivery, whoever sent it: it is PUBACKed in its
   turn, set aside and counted.
6. What was nacked comes before what was not delivered yet, and in the order of arrival.
7. `is_full` says that so much waits to be taken that no more is to be read: a broker counts
   messages, however large they are. What was handed out, and what was nacked, is not counted.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

from acked._machines.record_size import size_of
from acked._machines.window import Window
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._records import record_of
from acked.types import Leased, Record, Token

__all__ = ("MQTTReceiver", "Place")

MOST_WAITING: Final = 1024 * 1024
"""Bytes that wait to be taken, beside the one message that makes it more."""
LONGEST_MARK: Final = 1024
"""Characters of topic and id by which a message is recognised; `acked` publishes no longer ones."""

Place: TypeAlias = int
"""A message's place among what its connection delivered, from 1."""


class _Held(NamedTuple):
    record: Record
    mid: int
    qos: int
    attempt: int
    is_known: bool
    """Whether its publisher gave it an id by which it can be recognised."""
    size: int

    @property
    def mark(self) -> tuple[str, str]:
        return (self.record.topic, self.record.id)


class MQTTReceiver:
    """The messages of one feed, from arriving to PUBACK, over all its connections."""

    def __init__(self, limit: int, is_subscribed: Callable[[str], bool]) -> None:
        self.dropped = 0
        """QoS 0 messages dropped, since too many waited."""
        self.set_aside = 0
        """Messages of topics that nobody subscribed to."""
        self._limit = limit
        self._is_subscribed = is_subscribed
        self._connection = 0
        self._last: Place = 0
        self._window = Window()
        self._order: deque[tuple[Place, int]] = deque()
        self._held: dict[Place, _Held] = {}
        self._handed_out: set[Place] = set()
        self._ready: deque[Place] = deque()
        self._returned: list[Place] = []
        self._delayed: list[tuple[float, Place]] = []
        self._attempts: dict[tuple[str, str], int] = {}
        self._settled: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._noted: set[tuple[str, str]] = set()
        self._unsure: OrderedDict[Token, None] = OrderedDict()
        self._waiting_qos0 = 0
        self._waiting_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether enough waits to be taken."""
        return self._waiting_bytes > MOST_WAITING

    @property
    def is_holding(self) -> bool:
        """Whether anything is unsettled, behind which the broker may hold back the rest."""
        return bool(self._held)

    def forget_connection(self) -> None:
        """Note that the connection ended: whatever it delivered is ours no more."""
        if self._held:
            # What nobody was handed is not charged for.
            self._attempts = {
                one.mark: one.attempt - (place not in self._handed_out)
                for place, one in self._held.items()
                if one.qos and one.is_known
            }
        for place, mid in self._order:
            if place not in self._held and mid in self._settled:
                self._noted.add(self._settled.pop(mid))
        self._connection += 1
        self._last = 0
        self._window = Window()
        self._order.clear()
        self._held.clear()
        self._handed_out.clear()
        self._ready.clear()
        self._returned.clear()
        self._delayed.clear()
        self._waiting_qos0 = self._waiting_bytes = 0

    def forget_session(self) -> None:
        """Note that the broker knows nothing of what it sent before."""
        self._attempts.clear()
        self._settled.clear()
        self._noted.clear()

    def arrive(self, arrival: Arrival) -> list[int]:
        """Take in `arrival`; return what is to be PUBACKed now, for it is settled already."""
        if not self._is_subscribed(arrival.topic):
            return self._put_aside(arrival)
        if not arrival.qos and self._waiting_qos0 >= self._limit:
            self.dropped += 1
            return []
        self._last += 1
        place = self._last
        record, is_known = record_of(arrival)
        mark = (record.topic, record.id)
        attempt = self._attempts.pop(mark, 1 if arrival.is_dup else 0) + 1
        is_known = is_known and len(record.topic) + len(record.id) <= LONGEST_MARK
        size = size_of(record)
        self._held[place] = _Held(record, arrival.mid, arrival.qos, attempt, is_known, size)
        if not arrival.qos:
            self._waiting_qos0 += 1
        else:
            self._window.deliver(place)
            self._order.append((place, arrival.mid))
            if self._is_settled(mark, arrival):
                return self._settle(place)
        self._ready.append(place)
        self._waiting_bytes += size
        return []

    def take(self, limit: int, now: float) -> list[Leased]:
        """Return up to `limit` messages that wait, what was nacked and is due before the others."""
        while self._delayed and self._delayed[0][0] <= now:
            heapq.heappush(self._returned, heapq.heappop(self._delayed)[1])
        taken: list[Leased] = []
        while len(taken) < limit and (self._returned or self._ready):
            is_new = not self._returned
            place = self._ready.popleft() if is_new else heapq.heappop(self._returned)
            held = self._held[place]
            self._waiting_bytes -= held.size if is_new else 0
            self._waiting_qos0 -= not held.qos
            self._handed_out.add(place)
            taken.append(Leased(held.record, (self._connection, place), held.attempt))
        return taken

    def due(self) -> float:
        """Return when the next delayed message is due; infinity where there is none."""
        return self._delayed[0][0] if self._delayed else float("inf")

    def place_of(self, token: Token) -> Place | None:
        """Return the place of what `token` stands for, or None if it is not ours any more."""
        connection, place = cast("tuple[int, Place]", token)
        if connection != self._connection or place not in self._handed_out:
            return None
        return place

    def settle(self, place: Place) -> list[int]:
        """Note that the message at `place` is done with; return what is to be PUBACKed now."""
        self._handed_out.discard(place)
        return self._settle(place)

    def doubt(self, token: Token) -> None:
        """Note that `token` was settled, and that the broker may not have heard of it."""
        self._unsure[token] = None
        if len(self._unsure) > self._limit:
            self._unsure.popitem(last=False)

    def is_doubtful(self, token: Token) -> bool:
        """Say whether `token` was settled, and will not be delivered by this feed again."""
        return token in self._unsure

    def requeue(self, place: Place, due: float) -> None:
        """Let the message at `place` come again at `due`, as one attempt more."""
        self._handed_out.discard(place)
        held = self._held[place]
        self._held[place] = held._replace(attempt=held.attempt + 1)
        self._waiting_qos0 += not held.qos
        heapq.heappush(self._delayed, (due, place))

    def _put_aside(self, arrival: Arrival) -> list[int]:
        self.set_aside += 1
        if not arrival.qos:
            return []
        self._last += 1
        self._window.deliver(self._last)
        self._order.append((self._last, arrival.mid))
        return self._freed_by(self._last)

    def _settle(self, place: Place) -> list[int]:
        held = self._held.pop(place)
        if not held.qos:
            return []
        if held.is_known:
            self._remember(held)
        return self._freed_by(place)

    def _freed_by(self, place: Place) -> list[int]:
        """Settle `place`; return what may be PUBACKed now."""
        freed: list[int] = []
        if self._window.settle(place):
            frontier = self._window.frontier or 0
            while self._order and self._order[0][0] <= frontier:
                freed.append(self._order.popleft()[1])
        return freed

    def _is_settled(self, mark: tuple[str, str], arrival: Arrival) -> bool:
        before = self._settled.pop(arrival.mid, None)
        if mark in self._noted:
            self._noted.discard(mark)
            return True
        return arrival.is_dup and before == mark

    def _remember(self, held: _Held) -> None:
        """Keep as much as the broker may not know of: it has no more on their way than that."""
        self._settled[held.mid] = held.mark
        self._settled.move_to_end(held.mid)
        if len(self._settled) > 2 * self._limit:
            self._settled.popitem(last=False)
