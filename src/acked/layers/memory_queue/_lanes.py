"""What waits for an earlier message of its key. Pure state, as `_group` is.

Rules:

1. A message is *out* while it is leased or waits for the delay of a nack. It holds all of its key.
2. One that was published with a delay, and is not due, is *later*: it holds what comes after it.
3. Who claims in order and comes to a message that is held leaves it here, and does not come to it
   again. So nobody walks twice over what a stuck key keeps waiting.
4. When none holds the first of what waits any more, it is free again, and no other: it goes before
   those by its number, and they wait for it.
"""

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

__all__ = ("KeyLanes",)

Item = TypeVar("Item", bound=tuple[object, ...])


class KeyLanes(Generic[Item]):
    """What waits of each key; items begin with their number."""

    def __init__(self) -> None:
        self._out: defaultdict[str, int] = defaultdict(int)
        self._later: dict[str, list[int]] = {}
        """The numbers, in order: one that is published is the last."""
        self._waiting: defaultdict[str, list[Item]] = defaultdict(list)

    def begin(self, key: str) -> None:
        """Note that one more of `key` is out."""
        self._out[key] += 1

    def end(self, key: str) -> Item | None:
        """Note that one less is out; return what is free now, if it was the last."""
        self._out[key] -= 1
        if not self._out[key]:
            del self._out[key]
        return self._freed(key)

    def begin_later(self, key: str, number: int) -> None:
        """Note that `number` of `key` was published with a delay."""
        insort(self._later.setdefault(key, []), number)

    def end_later(self, key: str, number: int) -> Item | None:
        """Note that it is due, or gone; return what is free now, as `end` does."""
        later = self._later[key]
        del later[bisect_left(later, number)]
        if not later:
            del self._later[key]
        return self._freed(key)

    def keep(self, key: str, item: Item) -> bool:
        """Keep `item` if another one of `key` holds it; return whether it waits here now."""
        if not self._is_held(key, item):
            return False
        heapq.heappush(self._waiting[key], item)
        return True

    def discard(self, numbers: AbstractSet[int]) -> list[Item]:
        """Let those with these `numbers` wait no more, and return them."""
        gone = [item for item in self.items() if item[0] in numbers]
        for key in tuple(self._waiting) if gone else ():
            left = [item for item in self._waiting.pop(key) if item[0] not in numbers]
            if left:
                heapq.heapify(left)
                self._waiting[key] = left
        return gone

    def items(self) -> list[Item]:
        """Return whatever waits."""
        return [item for waiting in self._waiting.values() for item in waiting]

    def _is_held(self, key: str, item: Item) -> bool:
        later = self._later.get(key)
        return key in self._out or (later is not None and (later[0],) < item)

    def _freed(self, key: str) -> Item | None:
        waiting = self._waiting.get(key)
        if not waiting or self._is_held(key, waiting[0]):
            return None
        first = heapq.heappop(waiting)
        if not waiting:
            del self._waiting[key]
        return first
