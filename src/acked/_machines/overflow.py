"""A bounded buffer with an overflow policy, and the exact account of what it dropped.

Rules:

1. Items leave in the order in which they came.
2. Whatever is dropped is counted in the gap of the item that comes *next* in that order: what a
   reader is told with an item is what it missed just before that item.
3. FAIL behaves like DROP_NEWEST from the first overflow on, for ever: what waits is still read,
   then the reader is failed with the count.
4. Under BLOCK nothing is dropped: a full buffer refuses.
"""

from collections import deque
from typing import Any, Final, Generic, NamedTuple, TypeVar

from acked.types import Gap, GapCause, Overflow

__all__ = ("BoundedBuffer", "merged")

T = TypeVar("T")

_OVERFLOW: Final = frozenset({GapCause.OVERFLOW})


class _Gapped(NamedTuple):
    """One that waits, and the gap before it: most have none, and wait as they are."""

    item: Any
    gap: Gap


class BoundedBuffer(Generic[T]):
    """At most `capacity` items, each with the gap before it, if there is one."""

    __slots__ = ("_after_tail", "_before_head", "capacity", "failed", "items", "missed", "policy")

    def __init__(self, capacity: int, policy: Overflow) -> None:
        self.capacity: Final = capacity
        self.policy: Final = policy
        self.missed: int = 0
        """Items dropped here so far."""
        self.failed: int = 0
        """Of these, the ones dropped by FAIL."""
        # No deque while nothing waits: an empty one has 760 bytes, and most buffers are empty.
        self.items: deque[T | _Gapped] | tuple[()] = ()
        """What waits, oldest first: to look at."""
        self._before_head: Gap | None = None  # what was dropped from the front
        self._after_tail: Gap | None = None  # what was dropped, or may be missing, at the end

    def __len__(self) -> int:
        return len(self.items)

    def offer(self, item: T) -> bool:
        """Take `item` or drop by the policy; False if BLOCK has no room: nothing was changed."""
        items = self.items
        if self.failed or len(items) >= self.capacity:
            if self.policy is Overflow.BLOCK:
                return False
            if self.policy is not Overflow.DROP_OLDEST:
                self._drop_newest()
                return True
            self._drop_oldest()
        if not items:
            items = self.items = deque()
        if self._after_tail is None:
            items.append(item)
        else:
            items.append(_Gapped(item, self._after_tail))
            self._after_tail = None
        return True

    def take(self) -> tuple[T, Gap | None]:
        """Return the oldest item and the gap before it; raise `IndexError` if there is none."""
        items = self.items
        if not items:
            raise IndexError("nothing is buffered")
        item, gap = items.popleft(), self._before_head
        if not items:
            self.items = ()
        if gap is not None:
            self._before_head = None
        if isinstance(item, _Gapped):
            return item.item, merged(gap, item.gap)
        return item, gap

    def take_gap(self) -> Gap | None:
        """Return, once, the gap before the oldest item; where nothing waits, the one at the end."""
        items = self.items
        if not items:
            gap, self._before_head, self._after_tail = self.pending_gap, None, None
            return gap
        first, gap, self._before_head = items[0], self._before_head, None
        if isinstance(first, _Gapped):
            gap = merged(gap, first.gap)
            items[0] = first.item
        return gap

    def mark(self, gap: Gap) -> None:
        """Note that something may be missing after what is buffered now."""
        self._after_tail = merged(self._after_tail, gap)

    @property
    def pending_gap(self) -> Gap | None:
        """The gap that no buffered item carries: what may be missing at the end."""
        return self._after_tail if self.items else merged(self._before_head, self._after_tail)

    def _drop_oldest(self) -> None:
        _, gap = self.take()  # with all that was dropped before it
        self._before_head = merged(gap, Gap(1, _OVERFLOW))
        self.missed += 1

    def _drop_newest(self) -> None:
        self.mark(Gap(1, _OVERFLOW))
        self.missed += 1
        if self.policy is Overflow.FAIL:
            self.failed += 1


def merged(first: Gap | None, second: Gap | None) -> Gap | None:
    """Return the gap that covers both, or None if there is none."""
    if first is None or second is None:
        return first or second
    return first.merge(second)
