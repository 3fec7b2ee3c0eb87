"""What waits for an earlier message of its key, within one process."""

from collections import deque
from collections.abc import Hashable
from typing import Any

from acked._core.ack.delivery import Delivery

__all__ = ("KeyQueues",)


class KeyQueues:
    """A queue for each key that is being handled, and for no other.

    What waits is held, so the subscription's `in_flight` bounds it.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Delivery[Any]]] = {}

    def begin(self, key: Hashable, delivery: Delivery[Any]) -> bool:
        """Say whether `delivery` may be handled now; if not it waits for its key."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return True
        waiting.append(delivery)
        return False

    def next(self, key: Hashable) -> Delivery[Any] | None:
        """Return what comes next of `key`; None, and the key is free, if nothing waits."""
        if self._waiting[key]:
            return self._waiting[key].popleft()
        del self._waiting[key]
        return None

    def take(self, key: Hashable) -> list[Delivery[Any]]:
        """Return what waits for `key`, which is free from now on."""
        return list(self._waiting.pop(key, ()))

    def take_all(self) -> list[Delivery[Any]]:
        """Return whatever waits; all keys are free."""
        return [delivery for key in tuple(self._waiting) for delivery in self.take(key)]
