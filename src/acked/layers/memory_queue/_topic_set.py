"""The topics that consumers of one group read together, and who of these waits.

What a message costs must not grow with the topics of a subscription. So nobody walks over all of
them: each group of a topic tells the sets that it is in when something of it becomes ready, a
lease is overdue, or the clock has something to free. A set forgets what is true no more when it
looks at it next.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

__all__ = ("NEVER", "TopicSet", "Waiter")

NEVER: Final = float("inf")


class Waiter(Protocol):
    """A consumer that waits for something to become ready."""

    @property
    def until(self) -> float:
        """The moment at which it looks again by itself."""
        ...

    @property
    def held(self) -> object:
        """What it holds itself, and never takes from itself."""
        ...

    def wake(self) -> None:
        """Let it look now."""
        ...


class Queue(Protocol):
    """What a group owes of one topic."""

    @property
    def ready(self) -> int:
        """How many records could be leased now."""
        ...

    @property
    def has_overdue(self) -> bool:
        """Whether leases are over that their holders have seen end, and nobody else has."""
        ...

    @property
    def overdue_holders(self) -> Iterator[object]:
        """What those hold whose leases these are."""
        ...

    def next_moment(self) -> float:
        """Return when the clock will free something, or `NEVER`."""
        ...


Q = TypeVar("Q", bound=Queue)


class TopicSet(Generic[Q]):
    """What one group owes of some topics, for all consumers that read just these."""

    def __init__(self, queues: Sequence[Q]) -> None:
        self.queues: Final = queues
        self.consumers = 0
        self.asleep = OrderedDict[Waiter, None]()
        """Consumers that wait, in the order in which they fell asleep."""
        self._ready = OrderedDict[Q, None]()  # a dict's first is slow to find after many deletions
        """In the order in which it is their turn."""
        self._overdue: dict[Q, None] = {}
        self._due: dict[Q, float] = {}
        self._moments: list[tuple[float, int, Q]] = []
        self._numbers = count()
        for queue in queues:
            self.look_at(queue)

    def __repr__(self) -> str:
        return f"<{len(self.queues)} topics, {len(self._ready)} ready, {len(self.asleep)} wait>"

    def look_at(self, queue: Q) -> None:
        """Note all that there is to note of `queue`."""
        if queue.ready:
            self._ready[queue] = None
        if queue.has_overdue:
            self._overdue[queue] = None
        self.note_moment(queue, queue.next_moment())

    def note_ready(self, queue: Q) -> None:
        """Note that `queue` has something, and had nothing before."""
        self._ready[queue] = None

    def note_overdue(self, queue: Q) -> None:
        """Note that a lease of `queue` is over, and its holder has seen it."""
        self._overdue[queue] = None

    def note_moment(self, queue: Q, moment: float) -> None:
        """Note that the clock frees something of `queue` at `moment`."""
        if moment < self._due.get(queue, NEVER):
            self._due[queue] = moment
            heapq.heappush(self._moments, (moment, next(self._numbers), queue))

    def due(self, now: float) -> Iterator[Q]:
        """Give each queue that the clock, or another consumer, may free something of.

        What is given is to be freed before the next one is asked for.
        """
        due = dict.fromkeys(self._overdue)
        while self._moments and self._moments[0][0] <= now:
            moment, _, queue = heapq.heappop(self._moments)
            if self._due.get(queue) == moment:
                del self._due[queue]
                due[queue] = None
        for queue in due:
            yield queue
            if not queue.has_overdue:
                self._overdue.pop(queue, None)
            self.look_at(queue)

    def next_moment(self) -> float:
        """Return when the clock will free something of any of them."""
        while self._moments:
            moment, _, queue = self._moments[0]
            if self._due.get(queue) != moment:
                heapq.heappop(self._moments)
                continue
            actual = queue.next_moment()
            if actual != moment:  # it was settled, or extended
                heapq.heappop(self._moments)
                del self._due[queue]
                self.note_moment(queue, actual)
            if self._moments and self._moments[0][0] == actual and self._moments[0][2] is queue:
                return actual
        return NEVER

    def ready(self, most: int) -> Sequence[Q]:
        """Return up to `most` queues that have something; the others have their turn first then."""
        turn: list[Q] = []
        while self._ready and len(turn) < most:
            queue, _ = self._ready.popitem(last=False)
            if queue.ready:
                turn.append(queue)
        self._ready.update(dict.fromkeys(turn))
        return turn

    def is_ready(self) -> bool:
        """Say whether one of them has something."""
        while self._ready:
            queue = next(iter(self._ready))
            if queue.ready:
                return True
            del self._ready[queue]
        return False

    def nudge(self) -> None:
        """Wake one waiter if there is a reason; call this after whatever may be one.

        1. Something is ready: the one that waited longest. It calls this again after it has
           taken its part, or when it was cancelled: so nothing stays that somebody waits for.
        2. A lease is overdue, and somebody waits who is not its holder.
        3. Race: the clock will free something before the waiters look again, since they fell
           asleep before that came up. The last one looked last, so it is enough to wake that one;
           it is the last again when it sleeps again, until the right moment.
        """
        if not self.asleep:
            return
        if self.is_ready():
            next(iter(self.asleep)).wake()
            return
        for queue in self._overdue:
            for waiter in self.asleep:
                if any(held is not waiter.held for held in queue.overdue_holders):
                    waiter.wake()
                    return
        last = next(reversed(self.asleep))
        if self.next_moment() < last.until:
            last.wake()
