"""What the memory queue remembers: pure state, without loop or clock; `now` is passed in.

Rules:

1. A topic keeps a record until every group that owes it has settled it. Who owes it is decided at
   two moments: publishing makes it owed to each group the topic knows, and a group that is new
   owes whatever of the kept it starts with. What nobody owes yet is kept for a group to come.
2. For each group a record it owes is in one of four places: `fresh` (never delivered), `returned`
   (free again), `delayed` (free later, as who nacked or published it asked), or leased to one
   holder.
3. Records are delivered from the front of `fresh`, so all that came back are older than all that
   is fresh, but for what was published with a delay, and is late anyway. Hence returned ones go
   first, the oldest before the others, and the order of publishing is broken no more than
   redelivering must.
4. A lease is over at the moment `until`. Then whoever looks next takes the record away, its attempt
   charged, unless that is the holder itself: until another consumer has looked, the lease is
   `overdue`, and its holder may still extend or settle it. So nobody steals from itself.
5. `_lanes` has what waits for an earlier message of its key, for those who claim in order.
6. Heaps are never searched. An extended or settled lease leaves its entry in `_ends` behind, to
   be skipped; when most entries are such, the heap is built anew.

Longer than 300 lines: a topic and its groups are one state, and these rules are about all of it.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Final, TypeAlias

import msgspec

from acked.layers.memory_queue._charge import NOTHING, Charge
from acked.layers.memory_queue._kept import Kept, Returned
from acked.layers.memory_queue._lanes import KeyLanes
from acked.layers.memory_queue._topic_set import NEVER, TopicSet
from acked.types import KeptRecord, Leased, Record, Start

__all__ = ("GroupQueue", "Holder", "RecordLease", "StoredTopic")

STEP: Final = 1 << 48
"""More numbers than a topic ever has: a priority comes before all that have a lower one."""
TOKENS = count(1)
"""One number for each lease of this process: no token is ever taken for another."""


SPARE_ENDS = 64
"""How many entries the heap of ends may hold beyond twice as many as there are leases."""


class RecordLease(msgspec.Struct):
    """One kept record in the hands of one holder, until a moment."""

    token: int
    kept: Kept
    queue: "GroupQueue"
    holder: "Holder"
    charged: Charge
    """For the deliveries before this one."""
    until: float
    is_alone: bool = False
    has_failed: bool = False
    """Whether it ended by a nack."""


Holder: TypeAlias = dict[Hashable, RecordLease]
"""What one consumer holds, by token; in here means: leased to it, or over and not yet noticed."""


class GroupQueue:
    """What one group owes of one topic."""

    def __init__(self, topic: "StoredTopic", owed: Iterable[Kept]) -> None:
        self.sets: dict[TopicSet[GroupQueue], None] = {}
        """Those that consumers read of which this is one topic."""
        self.held: int = 0
        self._topic = topic
        self._fresh = deque[Kept]()
        self._returned: list[Returned] = []  # by place, which is unique
        self._lanes: KeyLanes[Returned] = KeyLanes()
        self._passed_by = 0
        """How many were never leased and are not among the fresh: for their key, a delay, or a
        priority."""
        self._delayed: list[tuple[float, int, Charge, Kept]] = []  # by moment and number
        self._ends: list[tuple[float, int, RecordLease]] = []  # until, token
        self._overdue: dict[int, RecordLease] = {}  # by token
        for kept in owed:
            self.add(kept)

    def __repr__(self) -> str:
        return f"{self.ready} ready, {len(self._delayed)} delayed, {self.held} held"

    @property
    def ready(self) -> int:
        """How many records could be leased now."""
        return len(self._fresh) + len(self._returned)

    @property
    def consumers(self) -> int:
        """How many read of it."""
        return sum(one.consumers for one in self.sets)

    @property
    def has_overdue(self) -> bool:
        """Whether leases are over that their holders have seen end, and nobody else has."""
        return bool(self._overdue)

    @property
    def overdue_holders(self) -> Iterator[object]:
        """What those hold whose leases these are."""
        return (lease.holder for lease in self._overdue.values())

    @property
    def lag(self) -> int:
        """How many records were never leased."""
        return len(self._fresh) + self._passed_by

    def add(self, kept: Kept) -> None:
        """Owe a record that was just published."""
        if kept.due:
            heapq.heappush(self._delayed, (kept.due, kept.number, NOTHING, kept))
            self._note_moment(kept.due)
            if kept.record.key is not None:
                self._lanes.begin_later(kept.record.key, kept.number)
        elif kept.ahead:
            self._return((kept.number - kept.ahead, NOTHING, kept))
            self._passed_by += 1
        else:
            if not self.ready:
                self._note_ready()
            self._fresh.append(kept)

    def tick(self, now: float, own: Holder) -> None:
        """Make ready what the clock has freed for the holder of `own`: rule 4."""
        while self._delayed and self._delayed[0][0] <= now:
            _, number, charged, kept = heapq.heappop(self._delayed)
            self._return((number - kept.ahead, charged, kept))
            self._passed_by += charged is NOTHING
            self._end_of_delay(charged, kept)
        while self._ends and self._ends[0][0] <= now:
            end = heapq.heappop(self._ends)
            if _is_true(end):
                self._overdue[end[1]] = end[2]
                for one in self.sets:
                    one.note_overdue(self)
        if self._overdue:
            for lease in [one for one in self._overdue.values() if one.holder is not own]:
                del lease.holder[lease.token]
                self.give_back(lease, charge=True)

    def next_moment(self) -> float:
        """Return when the clock will free something: the earliest delay or lease to end."""
        while self._ends and not _is_true(self._ends[0]):
            heapq.heappop(self._ends)
        lease_end = self._ends[0][0] if self._ends else NEVER
        return min(lease_end, self._delayed[0][0]) if self._delayed else lease_end

    def nudge(self) -> None:
        """Wake whom there is a reason to wake; call this after whatever may be one."""
        for one in self.sets:
            one.nudge()

    def lease(
        self,
        limit: int,
        until: float,
        holder: Holder,
        *,
        now: float = 0.0,
        in_key_order: bool = False,
    ) -> list[Leased]:
        """Lease up to `limit` ready records to `holder`: returned ones first, then fresh ones.

        In the order of keys, what may not come yet is ready no more. What expires until `now` is
        told.
        """
        returned, fresh, ends = self._returned, self._fresh, self._ends
        leased: list[Leased] = []
        while len(leased) < limit and (returned or fresh):
            if returned:
                _, charged, kept = heapq.heappop(returned)
                self._passed_by -= charged is NOTHING
            else:
                kept, charged = fresh.popleft(), NOTHING
            key = kept.record.key
            if key is not None:
                if in_key_order and self._lanes.keep(key, (kept.number, charged, kept)):
                    self._passed_by += charged is NOTHING
                    continue
                self._lanes.begin(key)
            token = next(TOKENS)
            holder[token] = lease = RecordLease(token, kept, self, holder, charged, until)
            heapq.heappush(ends, (until, token, lease))
            counts = (charged.deliveries + 1, kept.position, charged.failures, charged.ended_alone)
            is_expired = 0 < kept.expires <= now
            leased.append(Leased(kept.record, token, *counts, is_expired))
        if leased:
            self.held += len(leased)
            self._note_moment(until)
            self._drop_untrue_ends()
        return leased

    def extend(self, lease: RecordLease, until: float) -> None:
        """Let a valid lease end at `until` instead."""
        if until == lease.until and lease.token not in self._overdue:
            return  # its end is in the heap, and once is enough
        self._overdue.pop(lease.token, None)
        lease.until = until
        heapq.heappush(self._ends, (until, lease.token, lease))
        self._note_moment(until)
        self._drop_untrue_ends()

    # The three ways out of a lease. The caller has taken it out of the holder.

    def settled(self, lease: RecordLease) -> None:
        """Owe the record no more; the last group to say so lets the topic forget it."""
        self._let_go(lease)
        self._owe_no_more(lease.kept)
        self._end_of_key(lease.kept)

    def give_back(self, lease: RecordLease, *, charge: bool) -> None:
        """Make the record ready again; `charge` tells whether this delivery counted."""
        self._let_go(lease)
        charged = lease.charged.after(alone=lease.is_alone, charge=charge, failed=lease.has_failed)
        kept = lease.kept
        self._return((kept.number - kept.ahead, charged, kept))
        self._end_of_key(lease.kept)

    def delay(self, lease: RecordLease, due: float) -> None:
        """Make the record ready again at the moment `due`: it was nacked."""
        self._let_go(lease)
        charged = lease.charged.after(alone=lease.is_alone, failed=lease.has_failed)
        heapq.heappush(self._delayed, (due, lease.kept.number, charged, lease.kept))
        self._note_moment(due)

    def held_at(self, now: float) -> AbstractSet[int]:
        """Return the numbers of the records whose leases are not over."""
        return {one.kept.number for one in self._leases() if one.until > now}

    def discard(self, numbers: AbstractSet[int]) -> None:
        """Owe the records with these `numbers` no more; leases of them are over."""
        gone = [one for one in self._leases() if one.kept.number in numbers]
        for lease in gone:
            del lease.holder[lease.token]
            self._let_go(lease)
        fresh = self._fresh
        while fresh and fresh[0].number in numbers:
            fresh.popleft()
        if any(kept.number in numbers for kept in fresh):
            self._fresh = deque(kept for kept in fresh if kept.number not in numbers)
        delayed = [item[2:] for item in self._delayed if item[1] in numbers]
        passed_by = self._lanes.discard(numbers)
        passed_by += [item for item in self._returned if item[-1].number in numbers]
        self._passed_by -= sum(item[1] is NOTHING for item in passed_by)
        self._returned = [item for item in self._returned if item[-1].number not in numbers]
        self._delayed = [item for item in self._delayed if item[-1].number not in numbers]
        heapq.heapify(self._returned)
        heapq.heapify(self._delayed)
        for lease in gone:
            self._end_of_key(lease.kept)
        for charged, kept in delayed:
            self._end_of_delay(charged, kept)

    def forget(self) -> None:
        """Owe nothing any more. Nobody holds a lease of it: its consumers have left."""
        for kept in (
            *self._fresh,
            *(item[-1] for item in self._returned),
            *(item[-1] for item in self._delayed),
            *(item[-1] for item in self._lanes.items()),
        ):
            self._owe_no_more(kept)

    def _leases(self) -> Iterator[RecordLease]:
        yield from (end[2] for end in self._ends if _is_true(end))
        yield from self._overdue.values()

    def _let_go(self, lease: RecordLease) -> None:
        self.held -= 1
        self._overdue.pop(lease.token, None)

    def _end_of_key(self, kept: Kept) -> None:
        """Note that `kept` is neither leased nor delayed any more; free what waited for that."""
        if kept.record.key is not None:
            self._free(self._lanes.end(kept.record.key))

    def _end_of_delay(self, charged: Charge, kept: Kept) -> None:
        """Do so for what was delayed, by its publisher or by who nacked it."""
        if charged is not NOTHING:
            self._end_of_key(kept)
        elif kept.record.key is not None:
            self._free(self._lanes.end_later(kept.record.key, kept.number))

    def _free(self, item: Returned | None) -> None:
        if item is not None:
            self._return(item)

    def _return(self, item: Returned) -> None:
        if not self.ready:
            self._note_ready()
        heapq.heappush(self._returned, item)

    def _note_ready(self) -> None:
        for one in self.sets:
            one.note_ready(self)

    def _note_moment(self, moment: float) -> None:
        for one in self.sets:
            one.note_moment(self, moment)

    def _owe_no_more(self, kept: Kept) -> None:
        kept.owed -= 1
        if not kept.owed:
            del self._topic.kept[kept.number]

    def _drop_untrue_ends(self) -> None:
        if len(self._ends) > 2 * self.held + SPARE_ENDS:
            self._ends[:] = filter(_is_true, self._ends)
            heapq.heapify(self._ends)


def _is_true(end: tuple[float, int, RecordLease]) -> bool:
    """Tell whether this lease is still held, and ends at this moment."""
    until, token, lease = end
    return lease.until == until and token in lease.holder


def _placed(number: int, record: Record, owed: int, now: float) -> Kept:
    """Return what is kept of a record whose publisher says when, or before what, it comes."""
    due = now + record.delay if record.delay else 0.0
    expires = now + record.expires if record.expires else 0.0
    ahead = record.priority * STEP
    record = msgspec.structs.replace(record, delay=0.0, expires=0.0, priority=0)
    return Kept(number, record, str(number), owed, due, expires, ahead)


class StoredTopic:
    """The kept records of one topic, in the order of publishing, and the groups that it knows."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.groups: dict[str, GroupQueue] = {}
        self._numbers = count(1)

    def add(self, record: Record, now: float) -> Kept:
        """Keep `record` and let every group owe it; its delay and its time begin `now`."""
        number, owed = next(self._numbers), len(self.groups)
        if record.delay or record.expires or record.priority:
            kept = _placed(number, record, owed, now)
        else:
            kept = Kept(number, record, str(number), owed)
        self.kept[number] = kept
        for queue in self.groups.values():
            queue.add(kept)
        return kept

    def join(self, group: str, start: Start) -> GroupQueue:
        """Return what `group` owes; a group that is new begins at `start`."""
        if group not in self.groups:
            self.groups[group] = GroupQueue(self, self._owed_from(start))
        return self.groups[group]

    def has_consumers(self, group: str) -> bool:
        """Say whether somebody consumes as `group`."""
        return group in self.groups and self.groups[group].consumers > 0

    def shown(self, numbers: Iterable[int], now: float) -> list[KeptRecord]:
        """Return those of `numbers` that are kept, as who takes nothing sees them."""
        held = self._held_at(now)
        kept = (self.kept[number] for number in numbers if number in self.kept)
        return [KeptRecord(one.record, one.position, one.number in held) for one in kept]

    def discard(self, numbers: AbstractSet[int], now: float) -> AbstractSet[int]:
        """Let no group owe `numbers` any more, but for those that are leased: return them."""
        held = numbers & self._held_at(now)
        gone = numbers - held
        for queue in self.groups.values():
            queue.discard(gone)
        for number in gone:
            self.kept.pop(number, None)
        return held

    def _held_at(self, now: float) -> AbstractSet[int]:
        return frozenset[int]().union(*(one.held_at(now) for one in self.groups.values()))

    def remove(self, group: str) -> None:
        """Forget `group`, if there is one; it has no consumers."""
        queue = self.groups.pop(group, None)
        if queue is not None:
            queue.forget()

    def nudge(self) -> None:
        """Wake whom there is a reason to wake, in every group."""
        for queue in self.groups.values():
            queue.nudge()

    def _owed_from(self, start: Start) -> Iterator[Kept]:
        if start.kind == "latest":
            return
        for kept in self.kept.values():
            if start.kind == "earliest" or kept.record.timestamp >= start.time:
                kept.owed += 1
                yield kept
