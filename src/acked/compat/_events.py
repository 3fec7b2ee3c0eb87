"""Events as both originals have them, for whom they are, and the stream that they wait in."""

import copy
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, Self, TypeAlias, TypeVar

import anyio.lowlevel

from acked import AckedError, ChannelClosed, FireAndForgetStatistics, Gap, Stream

__all__ = ("CAPACITY", "OWNER", "BaseEvent", "EventReader", "offer_again")

E = TypeVar("E", bound="BaseEvent")
Way: TypeAlias = Callable[["EventReader[Any]"], Awaitable[None]]

CAPACITY: Final = 65_536
"""Events that may wait for a subscriber; the originals kept any number, until memory ended."""
READS_IN_A_TURN: Final = 64
"""Events that are read without a pause before the other tasks have their turn."""

NONE: Final[Mapping[str, Any]] = {}
LEFT: Final = ChannelClosed("this subscription was left")
"""One for all, and never raised itself: readers are told by an `END` of their own."""

OWNER: Final[ContextVar[str | None]] = ContextVar("owner", default=None)
"""Whose subscription is being made or undone: the names that are registered then belong to it."""


@dataclass
class BaseEvent:
    """A message and where it was published; as in the originals its fields can be changed.

    `gap` tells of messages that may have been missed just before it, None when none was. Two
    events are equal without regard to it.
    """

    gap: Gap | None = field(default=None, init=False, repr=False, compare=False)
    owner: str | None = field(default=None, init=False, repr=False, compare=False)
    """The subscription that it is for, where that is called otherwise (`a;b`, `a*`)."""


class EventReader(Stream[E], Generic[E]):
    """The events of one place, in order; any task may read, each event goes to one of them.

    An overflow is logged when it begins and when the reader has caught up, not for each message.
    """

    LOGGER: ClassVar[logging.Logger]
    END: ClassVar[type[Exception]]
    """What is raised after the last event; raised by a backend, it says that there was one."""

    def __init__(
        self, place: str, capacity: int, *ways: Way, options: Mapping[str, Any] = NONE
    ) -> None:
        super().__init__(capacity)
        self.place: Final = place
        self.options: Final = options
        """What the backend's `subscribe` is asked beside the place."""
        self._ways = ways
        """How to begin and how to end."""
        self._delivered = self._reported = 0
        self._had_its_turn = -1
        """How many were delivered when a turn of the loop was asked for."""
        self._in_a_row = 0
        """How many were read since the other tasks had a turn."""

    def statistics(self) -> FireAndForgetStatistics:
        """Return how many events were delivered, missed, and wait to be read."""
        missed = self.buffer.missed + self.told
        return FireAndForgetStatistics(self._delivered, missed, self.unknown_gaps, len(self.buffer))

    def offer(self, item: E, gap: Gap | None = None) -> bool:
        """Let `item` wait, after what `gap` tells of; the oldest is dropped for it.

        False where there is no room: offered again after a turn of the loop, it is taken. So of
        who reads on nothing is dropped, however small the buffer and large the burst.
        """
        buffer = self.buffer
        if self.failure is not None:
            return True  # it has ended
        if len(buffer.items) >= buffer.capacity:
            if self._had_its_turn != self._delivered:
                self._had_its_turn = self._delivered
                return False
            if buffer.missed == self._reported:
                self._warn("is too slow: messages are dropped")
        if gap is not None:
            self.gap(gap)
        buffer.offer(item)
        if self.arrived.waiting:
            self.arrived.wake(1)
        return True

    def left(self) -> None:
        """Take no more events, and say how many were dropped since that was said last."""
        self.end(LEFT)
        if self.buffer.missed != self._reported:
            self._say_dropped()

    # No generator makes a context of this: within a process that would cost half of it all.
    async def __aenter__(self) -> Self:
        await self._ways[0](self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._ways[1](self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        """Return the next event; end when nothing comes any more, raise what is the matter."""
        try:
            return await self._next()
        except self.END:
            raise StopAsyncIteration from None

    async def _next(self) -> E:
        """Return the next event; raise `END` after the last one, or what the backend raised."""
        buffer = self.buffer
        if not buffer.items:
            self._in_a_row = 0
            if not await self.ready() and self.failure is not None:
                # Many may raise it, and often: each time with a traceback of its own.
                raise self._raised(self.failure).with_traceback(None)
        elif self._in_a_row >= READS_IN_A_TURN:
            self._in_a_row = 0
            await anyio.lowlevel.checkpoint()
            if not buffer.items:  # another task has read it
                return await self._next()
        event, gap = buffer.take()
        self._delivered += 1
        self._in_a_row += 1
        if buffer.missed != self._reported and not buffer.items:
            self._say_dropped()
        if gap is not None and gap is not getattr(event, "gap", None):  # of this reader alone
            event = copy.copy(event)
            event.gap = gap
        return event

    def _raised(self, error: AckedError) -> BaseException:
        """Return what a reader is told of `error`."""
        return self.END() if isinstance(error, ChannelClosed) else error.__cause__ or error

    def _say_dropped(self) -> None:
        dropped, self._reported = self.buffer.missed - self._reported, self.buffer.missed
        self._warn(f"has missed {dropped} message(s): it read too slowly")

    def _warn(self, words: str) -> None:
        self.LOGGER.warning("a subscriber of %r %s", self.place, words)


async def offer_again(event: Any, late: Sequence[EventReader[Any]]) -> None:
    """Let those who had no room for `event` have a turn to make some, and offer it again."""
    gap = getattr(event, "gap", None)
    while late:  # once, but where others publish meanwhile
        await anyio.lowlevel.checkpoint()
        late = [reader for reader in late if not reader.offer(event, gap)]
