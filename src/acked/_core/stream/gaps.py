"""Reading messages and gaps: for who must act when something may have been missed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from acked._core.stream.message import Message
from acked._core.subscription import Batches
from acked.types import Gap

__all__ = ("MessagesAndGaps",)

T = TypeVar("T")


class MessagesAndGaps(AsyncIterator["Message[T] | Gap"], Generic[T]):
    """The messages of a subscription, and each gap by itself, at its place and at once."""

    def __init__(
        self,
        ready: Callable[[int, int], Awaitable[None]],
        take: Callable[[int], Sequence[Message[T] | Gap] | None],
        capacity: int,
    ) -> None:
        self._ready = ready
        self._take = take
        self._capacity = capacity

    async def __anext__(self) -> Message[T] | Gap:
        """Return the next message or gap; raise as the subscription does."""
        while True:
            await self._ready(1, 1)
            taken = self._take(1)
            if taken is not None:
                return taken[0]

    def batches(self, size: int, *, wait: float = 0.0) -> AsyncIterator[Sequence[Message[T] | Gap]]:
        """Iterate over lists as `batches` of the subscription does; a gap at the end ends one."""
        return Batches(self._ready, self._take, size=size, most=self._capacity, wait=wait)
