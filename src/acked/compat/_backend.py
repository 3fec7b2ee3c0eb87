"""What a backend is to both originals, what ours have in common, and the one within a process."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Protocol

import anyio.lowlevel

from acked import ChannelClosed, ConfigurationError, Gap
from acked.compat._errors import NotSupportedError
from acked.compat._events import CAPACITY, OVERFLOW, BaseEvent, EventInbox, merged, owner

__all__ = ("Backend", "Hears", "InMemory")

PUBLISHED_IN_A_TURN: Final = 32
"""Messages to who has room for them before the other tasks have their turn."""
NAMES: Final = ("channel", "group")


class Backend(Protocol):
    """What both originals ask a backend for: its methods, not this class.

    `connect` is called first and `disconnect` last. Between `subscribe` and `unsubscribe`, for the
    first subscriber of a place and the last, `next_published` returns what any number of tasks
    `publish` there; what that raises ends every subscriber, or is raised in each.
    """

    async def connect(self) -> None:
        """Connect."""
        raise NotSupportedError

    async def disconnect(self) -> None:
        """Disconnect."""
        raise NotSupportedError

    async def subscribe(self, *_: Any, **__: Any) -> None:
        """Listen to a place."""
        raise NotSupportedError

    async def unsubscribe(self, *_: Any, **__: Any) -> None:
        """Undo `subscribe`."""
        raise NotSupportedError

    async def publish(self, *_: Any, **__: Any) -> None:
        """Publish a message to a place."""
        raise NotSupportedError

    async def next_published(self) -> Any:
        """Wait for the next event."""
        raise NotSupportedError


class Hears(Backend):
    """A backend of ours. It can be inherited from."""

    BY_HUNDREDS: ClassVar[bool] = True
    """Whether events may come by hundreds in one turn of the loop, as from a connection."""
    INNER: ClassVar[Sequence[str]] = ()
    """Methods that the original calls by itself, and nobody calls here."""
    _inbox: EventInbox | None = None
    _hand_out: Callable[[BaseEvent], None] | None = None
    """Who takes events at once; None where they wait for `next_published`."""
    _tell: Callable[[Exception], object]
    _is_paced = True

    def hands_to(
        self,
        hand_out: Callable[[BaseEvent], None],
        fail: Callable[[Exception], object],
        *,
        is_paced: bool,
    ) -> bool:
        """Say whether events go to `hand_out` at once, and errors to `fail`; asked at `connect`."""
        kind = type(self)
        for name in self.INNER:
            if hasattr(kind, name):
                raise ConfigurationError(
                    f"{kind.__name__}.{name} would never be called here; override next_published, "
                    "subscribe, unsubscribe or publish instead"
                )
        is_ours = kind.next_published is Hears.next_published
        at_once = is_ours and not (is_paced and self.BY_HUNDREDS)
        self._hand_out, self._tell = hand_out if at_once else None, fail
        self._is_paced = is_paced
        return at_once

    async def connect(self) -> None:
        """Connect; called before anything else."""
        self._inbox = EventInbox(sys.maxsize)  # of events `take` lets only so many wait

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.end(ChannelClosed("disconnected"))

    async def next_published(self) -> Any:
        """Return the next event; raise when a connection is lost for good, or was closed."""
        if self._inbox is None:
            raise ChannelClosed("this is not connected: nothing comes any more")
        await self._inbox.ready()
        item, _ = self._inbox.take()
        if isinstance(item, Exception):
            raise item
        return item

    def take(self, event: BaseEvent, whose: str | None, gap: Gap | None = None) -> bool:
        """Hand `event` out, or keep it for `next_published`; False if there is no room."""
        event.owner = whose
        event.gap = gap
        if self._hand_out is not None:
            self._hand_out(event)
        elif self._inbox is not None:
            if len(self._inbox) >= CAPACITY:
                return False
            self._inbox.offer(event)
        return True

    async def subscribe(self, *places: str, **named: Any) -> None:
        """Listen to `places` (or `channel=`, `group=`); returns when the broker has confirmed."""
        await self._listen(*places, *(named[one] for one in NAMES if one in named))

    async def unsubscribe(self, *places: str, **named: Any) -> None:
        """Undo `subscribe`."""
        await self._unlisten(*places, *(named[one] for one in NAMES if one in named))

    async def _listen(self, *names: str, patterns: bool = False) -> None:
        """Listen to `names`, together; returns when the broker has confirmed."""
        raise NotImplementedError

    async def _unlisten(self, *names: str, patterns: bool = False) -> None:
        """Listen no more to `names`, or to any of those of the same subscription."""
        raise NotImplementedError


class InMemory(Hears):
    """Any object, by reference, and any name; within one process, on asyncio or trio."""

    BY_HUNDREDS: ClassVar[bool] = False
    CLOSED: ClassVar[type[Exception]]
    EVENT: ClassVar[type[BaseEvent]]

    def __init__(self) -> None:
        self._heard: dict[str, dict[str | None, Gap | None]] = {}
        """Which subscriptions hear a name, and what each has missed since its last event."""
        self._before_turn = PUBLISHED_IN_A_TURN

    @property
    def never_waits(self) -> bool:
        """Whether all but publishing is done at once: not where it is overridden."""
        kind = type(self)
        names = ("subscribe", "unsubscribe", "disconnect")
        return all(getattr(kind, name) is getattr(InMemory, name) for name in names)

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        await super().disconnect()
        self._heard.clear()

    async def _send(self, place: str, message: Any) -> None:
        if self._inbox is None:
            raise self.CLOSED("this is not connected; enter its Channel or Broadcast first")
        heard = self._heard.get(place, {})
        for whose, gap in tuple(heard.items()):
            taken = self.take(self.EVENT(place, message), whose, gap)
            heard[whose] = None if taken else merged(gap, OVERFLOW)
        # The others' turn: an application that publishes in a loop may do nothing else.
        self._before_turn -= 1
        if self._before_turn < 0 or self._hand_out is None or self._is_paced:
            self._before_turn = PUBLISHED_IN_A_TURN
            await anyio.lowlevel.checkpoint()

    async def _listen(self, *names: str, patterns: bool = False) -> None:
        del patterns
        for name in names:
            self._heard.setdefault(name, {})[owner()] = None

    async def _unlisten(self, *names: str, patterns: bool = False) -> None:
        del patterns
        for name in names or tuple(self._heard):
            self._heard.get(name, {}).pop(owner(), None)
            if not self._heard.get(name, True):
                del self._heard[name]
