"""What a backend is to both originals, what ours have in common, and the one within a process."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import anyio.lowlevel

from acked import ChannelClosed, ConfigurationError, Gap, GapCause, Stream
from acked.compat._events import CAPACITY, OWNER, BaseEvent, EventReader, offer_again

__all__ = ("Backend", "InMemory", "Late", "OwnBackend", "inherits")

Late: TypeAlias = Sequence[EventReader[Any]]
"""Who had no room for an event, and may have after a turn of the loop."""

NAMES: Final = ("channel", "group")
UNCALLED: Final = ("_listener", "_pubsub_listener", "_wait_for_assignment", "wait_for_messages")
"""Methods that the originals' backends call by themselves, and nobody calls here."""
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))


class Backend:
    """What both originals ask a backend for: its methods, not this class.

    `connect` is called first and `disconnect` last. Between `subscribe` and `unsubscribe`, for the
    first subscriber of a place and the last, `next_published` returns what any number of tasks
    `publish` there; what that raises ends every subscriber, or is raised in each.
    """

    REFUSAL: ClassVar[type[Exception]] = NotImplementedError
    EVENT: ClassVar[Callable[[str, Any], BaseEvent]]
    """What an event is made by, of a place and a message."""

    async def _refuse(self, *_: Any, **__: Any) -> Any:
        raise self.REFUSAL

    connect: Any = _refuse
    disconnect: Any = _refuse
    subscribe: Any = _refuse
    unsubscribe: Any = _refuse
    publish: Any = _refuse
    next_published: Any = _refuse
    _send: Any = _refuse
    """What `publish` of a backend of ours asks."""
    _listen: Any = _refuse
    _unlisten: Any = _refuse


class OwnBackend(Backend):
    """A backend of ours, which can be inherited from.

    It hands out what it hears at once; where `next_published` is overridden, or nobody takes it,
    what it hears waits for that.
    """

    put: Callable[[BaseEvent | Exception], Late]
    """Who takes events and errors: set after `connect`, else they wait for `next_published`."""
    _inbox: Stream[Any] | None = None

    async def connect(self) -> None:
        """Connect; called before anything else."""
        for name in UNCALLED:
            if hasattr(self, name):
                raise ConfigurationError(
                    f"{type(self).__name__}.{name} would never be called here; override "
                    "next_published, subscribe, unsubscribe or publish instead"
                )
        self.put = self._keep
        self._inbox = Stream(sys.maxsize)  # of events `_keep` lets only so many wait
        self._missed: dict[str | None, Gap] = {}
        """What each subscription has missed since its last event."""

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        inbox, self._inbox, self.put = self._inbox, None, self._keep
        if inbox is not None:
            inbox.end(ChannelClosed("disconnected"))

    async def next_published(self) -> Any:
        """Return the next event; raise when a connection is lost for good, or was closed."""
        inbox = self._inbox
        if inbox is None or not await inbox.ready():
            raise ChannelClosed("this is not connected: nothing comes any more")
        item, _ = inbox.take()
        if isinstance(item, Exception):
            raise item
        return item

    def take(self, event: BaseEvent, whose: str | None) -> Late:
        """Hand out `event`, of the subscription `whose`, or keep it if there is room."""
        event.owner = whose
        if self._missed:
            event.gap = self._missed.pop(whose, None)
        return self.put(event)

    def _keep(self, item: BaseEvent | Exception) -> Late:
        inbox = self._inbox
        if isinstance(item, BaseEvent) and inbox and len(inbox.buffer) >= CAPACITY:
            self.miss(item.gap.merge(OVERFLOW) if item.gap else OVERFLOW, item.owner)
        elif inbox is not None:
            inbox.offer(item)
        return ()

    def miss(self, gap: Gap, whose: str | None) -> None:
        """Let the next event of the subscription `whose` tell of `gap`."""
        before = self._missed.get(whose)
        self._missed[whose] = before.merge(gap) if before else gap

    async def subscribe(self, *places: str, **named: Any) -> None:
        """Listen to `places` (or `channel=`, `group=`); returns when the broker has confirmed."""
        await self._listen(*places, *[named[one] for one in named if one in NAMES])

    async def unsubscribe(self, *places: str, **named: Any) -> None:
        """Undo `subscribe`, for these or for all places of the same subscription."""
        await self._unlisten(*places, *[named[one] for one in named if one in NAMES])


def inherits(backend: object, kind: type, *methods: str) -> bool:
    """Say whether `backend` has `methods` of `kind`, and overrides none of them."""
    theirs = type(backend)
    return all(getattr(theirs, one, None) is getattr(kind, one) for one in methods)


class InMemory(OwnBackend):
    """Any object, by reference, and any name; within one process, on asyncio or trio."""

    CLOSED: ClassVar[type[Exception]]
    """What is raised by publishing while this is not connected."""
    IN_A_TURN: ClassVar[int]
    """Messages that are published before others have their turn, who may read them."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[str | None, None]] = {}
        """Which subscriptions hear a name."""
        self._published = 0

    async def disconnect(self) -> None:
        """Disconnect: nothing is heard any more."""
        await super().disconnect()
        self._heard.clear()

    async def _send(self, place: str, message: Any) -> None:
        if self._inbox is None:
            raise self.CLOSED("this is not connected; enter its Channel or Broadcast first")
        for whose in tuple(self._heard.get(place, ())):
            event = type(self).EVENT(place, message)
            if late := self.take(event, whose):
                await offer_again(event, late)
        self._published += 1
        if self._published >= self.IN_A_TURN or self._inbox.buffer.items:
            self._published = 0
            await anyio.lowlevel.checkpoint()

    def hear(self, name: str, whose: str | None, *, whether: bool) -> None:
        """Let the subscription `whose` hear what is published to `name`, or not: at once."""
        if whether:
            self._heard.setdefault(name, {})[whose] = None
        elif name in self._heard:
            self._heard[name].pop(whose, None)
            if not self._heard[name]:
                del self._heard[name]

    async def _listen(self, *names: str) -> None:
        for name in names:
            self.hear(name, OWNER.get(), whether=True)

    async def _unlisten(self, *names: str) -> None:
        for name in names or tuple(self._heard):
            self.hear(name, OWNER.get(), whether=False)
