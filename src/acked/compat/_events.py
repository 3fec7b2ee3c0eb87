"""Events as both originals have them, for whom they are, and who hands them out."""

import copy
import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, cast

from acked import (
    ChannelClosed,
    FireAndForgetStatistics,
    FireAndForgetSubscription,
    Gap,
    GapCause,
    LayerError,
)

__all__ = ("BaseEvent", "EventReader", "owner", "owning")

E = TypeVar("E")

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseEvent) or self.PLACE != other.PLACE:
            return NotImplemented
        return self._content() == other._content()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Event({}={!r}, message={!r})".format(self.PLACE, *self._content())

    def _content(self) -> tuple[str, Any]:
        return getattr(self, self.PLACE), self.message


class EventReader(Generic[E]):
    """The events of one place, in order; any task may read, each event goes to one of them.

    What is missed is logged once for an episode, not for each message. A lost connection is an
    episode; an overflow is one until the reader has caught up.
    """

    LOGGER: ClassVar[logging.Logger]
    END: ClassVar[type[Exception]]
    """What is raised after the last event; raised by a backend, it says that there was one."""

    def __init__(self, place: str, messages: FireAndForgetSubscription[Any]) -> None:
        self._place = place
        self._messages = messages
        self._is_behind = False
        self._reported = 0

    def statistics(self) -> FireAndForgetStatistics:
        """Return how many events were delivered, missed, and wait to be read."""
        return self._messages.statistics()

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
        try:
            message = await anext(self._messages)
        except ChannelClosed:
            raise self.END from None
        except LayerError as error:
            failure = self._raised(error)
        else:
            self._note(message.gap)
            event: Any = message.body
            if message.gap != getattr(event, "gap", None):  # it is of this reader alone
                event = copy.copy(event)
                event.gap = message.gap
            return cast("E", event)
        raise failure

    def _raised(self, failure: LayerError) -> BaseException:
        return failure.__cause__ or failure

    def closed(self) -> None:
        """Say how many were dropped since it was said last."""
        missed = self.statistics().missed
        if missed > self._reported:
            self._warn(f"has missed {missed - self._reported} message(s): it read too slowly")
        self._reported, self._is_behind = missed, False

    def _note(self, gap: Gap | None) -> None:
        causes = gap.causes if gap is not None else ()
        if GapCause.OVERFLOW in causes and not self._is_behind:
            self._is_behind = True
            self._warn("is too slow: messages are dropped")
        if GapCause.RECONNECT in causes:
            self._warn("may have missed messages: the connection was lost and made again")
        elif GapCause.BROKER in causes:
            self._warn("may have missed messages: the broker dropped some")
        if self._is_behind and not self.statistics().buffered:
            self.closed()

    def _warn(self, words: str) -> None:
        self.LOGGER.warning("a subscriber of %r %s", self._place, words)
