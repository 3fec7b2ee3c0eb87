"""One of `acked`'s layers with the methods that both originals ask a backend for."""

import logging
from collections import deque
from typing import Any, ClassVar, Final, Literal, TypeAlias

import anyio
import anyio.lowlevel

from acked import (
    Channel,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    Record,
    Topic,
)
from acked.abc import FireAndForgetLayer
from acked.codecs import RAW
from acked.compat._drivers import Driver
from acked.compat._events import BaseEvent, owner
from acked.compat._held import Held
from acked.compat._relay import Bridge

__all__ = ("Backend", "InMemory", "OnLoss", "Source", "checked")

logger = logging.getLogger("acked.compat")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]

CAPACITY: Final = 65_536
"""Events that wait to be handed out, one in a turn of the loop: so a fast reader needs no large
buffer, though they may arrive by hundreds in one. One more is dropped, and told by a gap."""
LEAVING: Final = 5.0
"""Seconds that a layer may take to stop listening."""
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))
DROPPED: Final = Gap(None, frozenset({GapCause.OVERFLOW}))
UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))


class Backend:
    """What both originals ask a backend for: its methods, not this class."""

    UNSUPPORTED: ClassVar[type[Exception]] = NotImplementedError

    async def connect(self) -> None:
        """Connect; called before anything else."""
        raise self.UNSUPPORTED

    async def disconnect(self) -> None:
        """Disconnect; called after everything else."""
        raise self.UNSUPPORTED

    async def subscribe(self, *_: Any, **__: Any) -> None:
        """Let `next_published` return what is published to a place, from now to `unsubscribe`."""
        raise self.UNSUPPORTED

    async def unsubscribe(self, *_: Any, **__: Any) -> None:
        """Undo `subscribe`; called when the last subscriber of a place has left."""
        raise self.UNSUPPORTED

    async def publish(self, *_: Any, **__: Any) -> None:
        """Publish a message to a place; called by any number of tasks at once."""
        raise self.UNSUPPORTED

    async def next_published(self) -> Any:
        """Wait for the next event; what it raises ends every subscriber, or is raised in each."""
        raise self.UNSUPPORTED


class Source(Backend):
    """A backend that is a face of one of `acked`'s layers. It can be inherited from.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), reading raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()
    END: ClassVar[type[Exception]]
    """What `next_published` raises when nothing comes any more."""
    bridge: Bridge | None = None
    """Where events go at once, in whatever bursts they come; None: to `next_published`."""

    def _use(self, layer: FireAndForgetLayer, on_loss: OnLoss) -> None:
        self._ends_quietly = on_loss == "end"
        self._channel = Channel(layer, codec=RAW)
        self._inbox = _Inbox()
        self._calls: dict[tuple[str | None, bool], list[_Call]] = {}
        """What is listened to, by who does and whether by pattern."""

    async def connect(self) -> None:
        """Connect; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.__aenter__()
        self._inbox.open()

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        async with anyio.create_task_group() as leaving:
            for key in tuple(self._calls):
                leaving.start_soon(self._end, key, set[str]())
        await self._channel.aclose()
        self._inbox.close()

    async def next_published(self) -> Any:
        """Return the next event; raise when a connection is lost for good."""
        item = await self._inbox.next()
        if item is None:
            raise self.END("this layer is not connected: nothing comes any more")
        if isinstance(item, Exception):
            raise item
        return item

    def take(self, event: BaseEvent) -> bool:
        """Take `event` for `next_published`, or hand it out at once; False if there is no room."""
        if self.bridge is None:
            return self._inbox.put(event)
        self.bridge.hand_out(event)
        return True

    def fail(self, cause: LayerError, mine: str | None) -> None:
        """Let `next_published` raise what `cause` is to this one's subscribers."""
        ends = self._ends_quietly and isinstance(cause, ConnectionLost)
        error = self.END(str(cause)) if ends else self.driver.also(cause)
        error.__cause__ = cause
        vars(error)["owner"] = mine
        if self.bridge is None:
            self._inbox.put(error)
        else:
            self.bridge.fail(error)

    async def subscribe(self, group: str, **_: Any) -> None:
        """Listen to `group`; returns when the broker has confirmed."""
        await self._listen(group)

    async def unsubscribe(self, group: str, **_: Any) -> None:
        """Undo `subscribe`."""
        await self._leave(group)

    def event(self, record: Record) -> BaseEvent:
        """Return the event that `record` is; raise what its serializer raises."""
        raise NotImplementedError

    def dropped(self) -> int:
        """Return how many messages were dropped beneath, of which nobody knows whose they were."""
        return 0

    async def _send(self, place: str, body: bytes) -> None:
        """Publish `body`; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.publish(Topic(place, bytes), body)

    async def _listen(self, *names: str, patterns: bool = False) -> None:
        """Listen to `names`, together; returns when the broker has confirmed."""
        calls = self._calls.setdefault((owner(), patterns), [])
        fresh = set(names).difference(*(call.names for call in calls))
        if fresh:
            # Not through the channel: what can be listened to need not be a topic's name.
            layer: Any = self._channel.layer
            call = _Call(self, fresh)
            listen = layer.listen_patterns if patterns else layer.listen
            call.held = Held(listen(sorted(fresh), call), LEAVING)
            calls.append(call)
            try:
                with self.driver.translated():
                    await call.held.enter()
            except BaseException:
                calls.remove(call)
                if not calls:
                    del self._calls[owner(), patterns]
                raise

    async def _leave(self, *names: str, patterns: bool = False) -> None:
        """Listen no more to `names`, or to any of those of the same subscription."""
        await self._end((owner(), patterns), set(names))

    async def _end(self, key: tuple[str | None, bool], left: set[str]) -> None:
        calls = self._calls.get(key, [])
        for call in tuple(calls):
            call.names -= left or set(call.names)
            if not call.names and call in calls:
                calls.remove(call)
                if (failure := await call.held.leave()) is not None:
                    logger.warning("leaving %r: %s", key[0], failure)
        if not calls:
            self._calls.pop(key, None)


class _Call:
    """What was asked for at once, as its layer sees it: see `acked.abc.Sink`."""

    held: Held

    def __init__(self, source: Source, names: set[str]) -> None:
        self.names = names
        self._all, self._source = frozenset(names), source
        self._owner, self._dropped = owner(), source.dropped()
        self._gap: Gap | None = None

    def offer(self, record: Record) -> bool:
        if record.topic not in self.names and record.topic in self._all:
            return True  # left, while others of the same call are not
        try:
            event = self._source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            said = "a message of %r (%d bytes) cannot be read and is skipped: %s"
            logger.warning(said, record.topic, len(record.body), type(error).__name__)
            self.gap(UNREADABLE)
            return True
        before, self._dropped = self._dropped, self._source.dropped()
        if before != self._dropped:
            self.gap(DROPPED)
        event.owner, event.gap, self._gap = self._owner, self._gap, None
        if not self._source.take(event):
            self.gap(OVERFLOW.merge(event.gap) if event.gap else OVERFLOW)
        return True

    async def send(self, record: Record) -> None:
        self.offer(record)  # there is never anything to wait for

    def gap(self, gap: Gap) -> None:
        self._gap = gap if self._gap is None else self._gap.merge(gap)

    def fail(self, error: LayerError) -> None:
        self._source.fail(error, self._owner)


class InMemory(Source):
    """Any object, by reference, and any name; within one process, on asyncio or trio."""

    CLOSED: ClassVar[type[Exception]]

    async def _send(self, place: str, body: Any) -> None:
        if not self._inbox.is_open:
            raise self.CLOSED("this is not connected; enter its Channel or Broadcast first")
        await self._channel.layer.publish([Record(place, body, id="")])
        if self.bridge is None:
            # The others' turn: an application that publishes in a loop may do nothing else.
            await anyio.lowlevel.checkpoint()


def checked(on_loss: OnLoss) -> OnLoss:
    """Return `on_loss`; raise `ConfigurationError` for what it cannot be."""
    if on_loss not in {"reconnect", "raise", "end"}:
        raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
    return on_loss


class _Inbox:
    """What waits for `next_published`, from opening to closing; on one event loop at a time."""

    is_open = False

    def open(self) -> None:
        self.is_open, self._changed = True, anyio.Event()
        self._items: deque[BaseEvent | Exception] = deque()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._changed.set()

    def put(self, item: BaseEvent | Exception) -> bool:
        """Return False if there is no room, which there always is for a failure."""
        if self.is_open:
            if len(self._items) >= CAPACITY and isinstance(item, BaseEvent):
                return False
            self._items.append(item)
            self._changed.set()
        return True

    async def next(self) -> BaseEvent | Exception | None:
        """Return the next item, None after the end; one in a turn of the loop."""
        await anyio.lowlevel.checkpoint()
        while self.is_open and not self._items:
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()
        return self._items.popleft() if self.is_open else None
