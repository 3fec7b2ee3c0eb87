"""What a backend is to both originals, what ours have in common, and the one within a process."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import anyio.lowlevel

from acked import ChannelClosed, ConfigurationError, Gap, GapCause
from acked.compat._events import BaseEvent, Inbox, owner
from acked.compat._relay import Relay

__all__ = ("Backend", "Hears", "InMemory")

CAPACITY: Final = 65_536
"""Events that wait for `next_published`; one more is dropped, and told by a gap."""
PUBLISHED_IN_A_TURN: Final = 32
"""Messages to who has room for them before the other tasks have their turn."""
NAMES: Final = ("channel", "group")
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))


class Backend:
    """What both originals ask a backend for: its methods, not this class.

    `connect` is called first and `disconnect` last. Between `subscribe` and `unsubscribe`, for the
    first subscriber of a place and the last, `next_published` returns what any number of tasks
    `publish` there; what that raises ends every subscriber, or is raised in each.
    """

    UNSUPPORTED: ClassVar[type[Exception]] = NotImplementedError

    async def connect(self) -> None:
        """Connect."""
        raise self.UNSUPPORTED

    async def disconnect(self) -> None:
        """Disconnect."""
        raise self.UNSUPPORTED

    async def subscribe(self, *_: Any, **__: Any) -> None:
        """Listen to a place."""
        raise self.UNSUPPORTED

    async def unsubscribe(self, *_: Any, **__: Any) -> None:
        """Undo `subscribe`."""
        raise self.UNSUPPORTED

    async def publish(self, *_: Any, **__: Any) -> None:
        """Publish a message to a place."""
        raise self.UNSUPPORTED

    async def next_published(self) -> Any:
        """Wait for the next event."""
        raise self.UNSUPPORTED


class Hears(Backend):
    """A backend of ours. It can be inherited from."""

    END: ClassVar[type[Exception]]
    """What `next_published` raises when nothing comes any more."""
    BY_HUNDREDS: ClassVar[bool] = True
    """Whether events may come by hundreds in one turn of the loop, as from a connection."""
    INNER: ClassVar[Sequence[str]] = ()
    """Methods that the original calls by itself, and nobody calls here."""
    _inbox: Inbox | None = None
    _relay: Relay | None = None

    def __init__(self) -> None:
        self._gaps: dict[str | None, Gap] = {}
        """What was missed before the next event of a subscription."""

    def hands_to(self, relay: Relay) -> bool:
        """Say whether events go to `relay` at once, not by `next_published`; asked at `connect`."""
        kind = type(self)
        for name in self.INNER:
            if hasattr(kind, name):
                raise ConfigurationError(
                    f"{kind.__name__}.{name} would never be called here; override next_published, "
                    "subscribe, unsubscribe or publish instead"
                )
        inherited: Any = getattr(self.next_published, "__func__", None)
        at_once = inherited is Hears.next_published and not (relay.is_paced and self.BY_HUNDREDS)
        self._relay = relay if at_once else None
        return at_once

    async def connect(self) -> None:
        """Connect; called before anything else."""
        self._inbox = Inbox(CAPACITY)

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        inbox, self._inbox = self._inbox, None
        self._gaps.clear()
        if inbox is not None:
            inbox.end(ChannelClosed("disconnected"))

    async def next_published(self) -> Any:
        """Return the next event; raise when a connection is lost for good."""
        end = self.END("this layer is not connected: nothing comes any more")
        inbox = self._inbox
        if inbox is None:
            raise end
        try:
            await inbox.ready()
        except ChannelClosed:
            raise end from None
        item, _ = inbox.take()
        if isinstance(item, Exception):
            raise item
        return item

    def take(self, event: BaseEvent, whose: str | None) -> None:
        """Hand `event` out, or keep it for `next_published` if there is room."""
        if self._inbox is None:
            return
        if self._relay is None and self._inbox.waiting == CAPACITY:
            self.missed(OVERFLOW, whose)
            return
        event.owner = whose
        if self._gaps:
            event.gap = self._gaps.pop(whose, None)
        if self._relay is not None:
            self._relay.hand_out(event)
        else:
            self._inbox.offer(event)

    def missed(self, gap: Gap, whose: str | None) -> None:
        """Tell of `gap` with the next event of the subscription `whose`."""
        self._gaps[whose] = gap.merge(self._gaps[whose]) if whose in self._gaps else gap

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
        super().__init__()
        self._heard: dict[str, dict[str | None, None]] = {}
        """Which subscriptions hear a name."""
        self._before_turn = PUBLISHED_IN_A_TURN

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        await super().disconnect()
        self._heard.clear()

    async def _send(self, place: str, message: Any) -> None:
        if self._inbox is None:
            raise self.CLOSED("this is not connected; enter its Channel or Broadcast first")
        for whose in tuple(self._heard.get(place, ())):
            self.take(self.EVENT(place, message), whose)
        # The others' turn: an application that publishes in a loop may do nothing else.
        self._before_turn -= 1
        if self._relay is None or self._relay.is_paced or self._before_turn < 0:
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
