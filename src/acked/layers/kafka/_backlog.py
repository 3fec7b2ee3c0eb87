"""What waits to be handed out: what was given back or nacked, then what was never seen."""

import asyncio
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, cast

from acked.layers.kafka._partition import DeliveryToken, Partition
from acked.types import Leased

__all__ = ("Backlog", "partition_of")


class Backlog:
    """Records in the order in which they are to be handed out."""

    def __init__(self) -> None:
        self.changed: Final = asyncio.Event()
        """Set when something was added."""
        self._returned: list[Leased] = []
        """By offset: it comes before what was never delivered."""
        self._fetched: deque[Leased] = deque()
        self._withheld: Final[defaultdict[Partition, list[Leased]]] = defaultdict(list)
        """Of partitions that are to go to another member."""

    def __len__(self) -> int:
        """Return how much can be handed out."""
        return len(self._returned) + len(self._fetched)

    @property
    def unseen(self) -> int:
        """How much of it was never handed out."""
        return len(self._fetched)

    def extend(self, leased: Sequence[Leased]) -> None:
        """Add what was fetched just now."""
        self._fetched.extend(leased)
        self.changed.set()

    def put_back(self, leased: Leased) -> None:
        """Let `leased` be handed out before what was never delivered, in the order of the log."""
        partition = partition_of(leased)
        if partition.is_leaving:
            self._withheld[partition].append(leased)
        else:
            insort(self._returned, leased, key=_offset_of)
            self.changed.set()

    def peek(self, limit: int) -> list[Leased]:
        """Return what `take` would."""
        first = self._returned[:limit]
        first += islice(self._fetched, limit - len(first))
        return first

    def take(self, limit: int) -> list[Leased]:
        """Remove up to `limit` of it, and return them."""
        fetched, taken = self._fetched, self._returned[:limit]
        del self._returned[: len(taken)]
        taken += [fetched.popleft() for _ in range(min(limit - len(taken), len(fetched)))]
        return taken

    def withhold(self, partition: Partition) -> None:
        """Hand out nothing more of `partition`, for now."""
        self._withheld[partition] += self._take_out(partition)

    def hand_out_again(self, partition: Partition) -> None:
        """Take `withhold` back."""
        for leased in self._withheld.pop(partition, ()):
            self.put_back(leased)

    def drop(self, partition: Partition) -> None:
        """Forget what waits of `partition`: it comes again, here or elsewhere."""
        self._take_out(partition)
        self._withheld.pop(partition, None)

    def _take_out(self, partition: Partition) -> list[Leased]:
        found: list[Leased] = []
        for waiting in (self._returned, self._fetched):
            kept = [one for one in waiting if partition_of(one) is not partition]
            if len(kept) < len(waiting):
                found += [one for one in waiting if partition_of(one) is partition]
                waiting.clear()
                waiting.extend(kept)
        return found


def partition_of(leased: Leased) -> Partition:
    """Return the partition that `leased` was read from."""
    return cast("DeliveryToken", leased.token).partition


def _offset_of(leased: Leased) -> int:
    return cast("DeliveryToken", leased.token).offset
