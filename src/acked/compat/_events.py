"""Events as both originals have them, for whom they are, and the stream that they wait in."""

import copy
import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, cast

import anyio
import anyio.lowlevel

from acked import AckedError, ChannelClosed, FireAndForgetStatistics, Gap, GapCause

__all__ = (
    "CAPACITY",
    "OVERFLOW",
    "BaseEvent",
    "EventInbox",
    "EventReader",
    "merged",
    "owner",
    "owning",
)

E = TypeVar("E")

CAPACITY: Final = 65_536
"""Events that may wait for a subscriber; the originals kept any number, until memory ended."""
READS_IN_A_TURN: Final = 32
"""Events that are read without a pause before the other tasks have their turn."""
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))

_owner: Final[ContextVar[str | None]] = ContextVar("owner", default=None)
owner = _owner.get
"""Return whose subscription is being made or undone; None when it is nobody's."""


@contextmanager
def owning(place: str) -> Generator[None]:
    """Let whatever names a backend registers within belong to the subscription to `place`."""
    token = _owner.set(place)
    try:
        yield
    finally:
        _owner.reset(token)


def merged(first: Gap | None, second: Gap | None) -> Gap | None:
    """Return the gap that covers both."""
    return first.merge(second) if first and second else first or second


class BaseEvent:
    """A message and where it was published; as in the originals its fields can be changed.

    `gap` tells of messages that may have been missed just before it, None when none was. Two
    events are equal without regard to it.
    """

    PLACE: ClassVar[str]
    """What the original calls the field that says where: a channel, or a group."""
    message: Any
    gap: Gap | None = None
    owner: str | None = None
    """The subscription that it is for, where that is called otherwise (`a;b`, `a*`)."""

    def __init__(self, place: str, message: Any) -> None:
        setattr(self, self.PLACE, place)
        self.message = message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseEvent) or self.PLACE != other.PLACE:
            return NotImplemented
        return self._content() == other._content()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Event({}={!r}, message={!r})".format(self.PLACE, *self._content())

    def _content(self) -> tuple[str, Any]:
        return getattr(self, self.PLACE), self.message


class EventInbox:
    """Up to `capacity` items, for whichever task takes them; one more drops the oldest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[tuple[Any, Gap | None]] = deque()
        self._before: Gap | None = None
        """What was dropped before the oldest."""
        self._waiting: deque[anyio.Event] = deque()
        self._why: AckedError | None = None
        self.dropped: int = 0

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Any, gap: Gap | None = None) -> None:
        """Let `item` wait, after what `gap` tells of."""
        if len(self._items) >= self._capacity:
            _, lost = self.take()
            self._before = merged(lost, OVERFLOW)
            self.dropped += 1
        self._items.append((item, gap))
        if self._waiting:
            self._waiting.popleft().set()

    def take(self) -> tuple[Any, Gap | None]:
        """Return the oldest item, which is there, and the gap before it."""
        item, gap = self._items.popleft()
        if self._before is not None:
            gap, self._before = merged(self._before, gap), None
        return item, gap

    def end(self, why: AckedError) -> None:
        """Let who reads on behind what waits raise `why`; the first reason stays."""
        self._why = self._why or why
        while self._waiting:
            self._waiting.popleft().set()

    async def ready(self) -> None:
        """Return when there is something to take; raise why nothing comes any more."""
        while not self._items:
            if self._why is not None:
                raise self._why
            woken = anyio.Event()
            self._waiting.append(woken)
            try:
                await woken.wait()
            except BaseException:
                if woken in self._waiting:
                    self._waiting.remove(woken)
                elif self._waiting:
                    # Race: woken for an event, and cancelled: another reader must have it.
                    self._waiting.popleft().set()
                raise


class EventReader(EventInbox, Generic[E]):
    """The events of one place, in order; any task may read, each event goes to one of them.

    An overflow is logged when it begins and when the reader has caught up, not for each message.
    """

    LOGGER: ClassVar[logging.Logger]
    END: ClassVar[type[Exception]]
    """What is raised after the last event; raised by a backend, it says that there was one."""

    def __init__(self, place: str, capacity: int) -> None:
        super().__init__(capacity)
        self.place: Final = place
        self._delivered = self._told = self._unknown = self._reported = 0

    def statistics(self) -> FireAndForgetStatistics:
        """Return how many events were delivered, missed, and wait to be read."""
        missed = self.dropped + self._told
        return FireAndForgetStatistics(self._delivered, missed, self._unknown, len(self._items))

    def offer(self, item: Any, gap: Gap | None = None) -> None:
        """Let the event `item` wait, after what `gap` tells of."""
        if gap is not None:
            self._told += gap.missed or 0
            self._unknown += gap.missed is None
        super().offer(item, gap)
        if self.dropped == self._reported + 1:
            self._warn("is too slow: messages are dropped")

    def left(self) -> None:
        """Take no more events, and say how many were dropped since that was said last."""
        self.end(ChannelClosed("this subscription was left"))
        if self.dropped > self._reported:
            self._say_dropped()

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
        if self._delivered % READS_IN_A_TURN == 0:
            await anyio.lowlevel.checkpoint()
        if not self._items:
            failure: BaseException | None = None
            try:
                await self.ready()
            except AckedError as error:
                failure = self._raised(error)
            if failure is not None:
                raise failure
        event, gap = self.take()
        self._delivered += 1
        if self.dropped > self._reported and not self._items:
            self._say_dropped()
        if gap != getattr(event, "gap", None):  # it is of this reader alone
            event = copy.copy(event)
            event.gap = gap
        return cast("E", event)

    def _raised(self, error: AckedError) -> BaseException:
        """Return what a reader is told of `error`."""
        return self.END() if isinstance(error, ChannelClosed) else error.__cause__ or error

    def _say_dropped(self) -> None:
        self._warn(f"has missed {self.dropped - self._reported} message(s): it read too slowly")
        self._reported = self.dropped

    def _warn(self, words: str) -> None:
        self.LOGGER.warning("a subscriber of %r %s", self.place, words)
