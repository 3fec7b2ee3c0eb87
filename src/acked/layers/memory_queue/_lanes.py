"""What waits for an earlier message of its key. Pure state, as `_group` is.

Rules:

1. A message is *out* while it is leased or waits for its delay, be it a nack's or a publisher's.
2. Who claims in order and comes to a message of which another one of its key is out, leaves it
   here, and does not come to it again. So nobody walks twice over what a stuck key keeps waiting.
3. When none of a key is out any more, the first of what waits is free again, and no other: it goes
   before those by its number, and they wait for it.
"""

import heapq
from collections import defaultdict
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

__all__ = ("KeyLanes",)

Item = TypeVar("Item", bound=tuple[object, ...])


class KeyLanes(Generic[Item]):
    """What waits of each key; items begin with their number."""

    def __init__(self) -> None:
        self._out: defaultdict[str, int] = defaultdict(int)
        self._waiting: defaultdict[str, list[Item]] = defaultdict(list)

    def begin(self, key: str) -> None:
        """Note that one more of `key` is out."""
        self._out[key] += 1

    def end(self, key: str) -> Item | None:
        """Note that one less is out; return what is free now, if it was the last."""
        self._out[key] -= 1
        if self._out[key]:
            return None
        del self._out[key]
        waiting = self._waiting.get(key)
        if not waiting:
            return None
        first = heapq.heappop(waiting)
        if not waiting:
            del self._waiting[key]
        return first

    def keep(self, key: str, item: Item) -> bool:
        """Keep `item` if one of `key` is out; return whether it waits here now."""
        if key not in self._out:
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
