"""Events as both originals have them, for whom they are, and who hands them out."""

import copy
import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, cast

import anyio.lowlevel

from acked import AckedError, ChannelClosed, FireAndForgetStatistics, Gap, GapCause
from acked._core.options import FireAndForgetSettings
from acked._core.stream.buffer import Stream

__all__ = ("BaseEvent", "EventReader", "Inbox", "owner", "owning")

E = TypeVar("E")

READS_IN_A_TURN: Final = 32
"""Events that are read without a pause before the other tasks have their turn."""

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


class Inbox:
    """The bounded stream of a subscription, which any task may read."""

    def __init__(self, capacity: int) -> None:
        self._stream = Stream(FireAndForgetSettings(capacity=capacity), None)

    @property
    def waiting(self) -> int:
        """How many items wait to be taken."""
        return len(self._stream.buffer)

    def offer(self, item: Any, gap: Gap | None = None) -> None:
        """Let `item` wait, after what `gap` tells of."""
        if gap is not None:
            self._stream.gap(gap)
        self._stream.offer(item)

    def take(self) -> tuple[Any, Gap | None]:
        """Return what came next and the gap before it, which is there."""
        return self._stream.take()

    def end(self, why: AckedError) -> None:
        """Let who reads on behind what waits raise `why`; the first reason stays."""
        self._stream.end(why)

    async def ready(self) -> None:
        """Return when there is something to take; raise why nothing comes any more."""
        stream = self._stream
        while not stream.buffer.items:
            if stream.failure is not None:
                raise stream.failure
            try:
                await stream.arrived.wait()
            except BaseException:
                # Race: woken for an event, and cancelled: another reader must have it.
                stream.arrived.wake(len(stream.buffer))
                raise


class EventReader(Inbox, Generic[E]):
    """The events of one place, in order; any task may read, each event goes to one of them.

    An overflow is logged when it begins and when the reader has caught up, not for each message.
    """

    LOGGER: ClassVar[logging.Logger]
    END: ClassVar[type[Exception]]
    """What is raised after the last event; raised by a backend, it says that there was one."""

    def __init__(self, place: str, capacity: int) -> None:
        super().__init__(capacity)
        self.place: Final = place
        self._delivered = self._reported = 0
        self._is_behind = False

    def statistics(self) -> FireAndForgetStatistics:
        """Return how many events were delivered, missed, and wait to be read."""
        stream = self._stream
        missed, waiting = stream.buffer.missed + stream.told, len(stream.buffer)
        return FireAndForgetStatistics(self._delivered, missed, stream.unknown_gaps, waiting)

    def left(self) -> None:
        """Take no more events, and say how many were dropped since that was said last."""
        self._stream.close()
        self._stream.end(ChannelClosed("this subscription was left"))
        self._say_missed()

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
        stream = self._stream
        if self._delivered % READS_IN_A_TURN == 0:
            await anyio.lowlevel.checkpoint()
        if not stream.buffer.items:
            failure: BaseException | None = None
            try:
                await self.ready()
            except AckedError as error:
                failure = self._raised(error)
            if failure is not None:
                raise failure
        event, gap = self.take()
        self._delivered += 1
        if gap is not None or self._is_behind:
            self._note(gap)
        if gap != getattr(event, "gap", None):  # it is of this reader alone
            event = copy.copy(event)
            event.gap = gap
        return cast("E", event)

    def _raised(self, error: AckedError) -> BaseException:
        """Return what a reader is told of `error`."""
        return self.END() if isinstance(error, ChannelClosed) else error.__cause__ or error

    def _note(self, gap: Gap | None) -> None:
        causes = gap.causes if gap is not None else ()
        if GapCause.OVERFLOW in causes and not self._is_behind:
            self._is_behind = True
            self._warn("is too slow: messages are dropped")
        if GapCause.BROKER in causes:
            self._warn("may have missed messages: the broker dropped some")
        if self._is_behind and not self._stream.buffer.items:
            self._say_missed()

    def _say_missed(self) -> None:
        missed = self.statistics().missed
        if missed > self._reported:
            self._warn(f"has missed {missed - self._reported} message(s): it read too slowly")
        self._reported, self._is_behind = missed, False

    def _warn(self, words: str) -> None:
        self.LOGGER.warning("a subscriber of %r %s", self.place, words)
