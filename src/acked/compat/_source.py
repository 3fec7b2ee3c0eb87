"""One of `acked`'s layers with the methods that both originals ask a backend for."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, cast

import anyio
import anyio.lowlevel

from acked import Channel, ConfigurationError, Gap, GapCause, Topic
from acked.abc import FireAndForgetLayer, PatternLayer, Sink
from acked.codecs import RAW
from acked.compat._drivers import Driver
from acked.compat._events import BaseEvent, owner
from acked.compat._held import Held
from acked.errors import ConnectionLost, LayerError
from acked.types import Record

__all__ = ("InMemory", "Listens", "OnLoss", "Source")

logger = logging.getLogger("acked.compat")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]
_Listen: TypeAlias = Callable[[Sequence[str], Sink], AbstractAsyncContextManager[None]]

CAPACITY: Final = 65_536
"""Events that wait to be handed out to the subscribers; one more is dropped, and told by a gap.

They are handed out one in a turn of the loop, so that a fast reader needs no large buffer, and may
arrive by hundreds in one.
"""
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))
DROPPED_BENEATH: Final = Gap(None, frozenset({GapCause.OVERFLOW}))
UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))


class Source:
    """A backend that is a face of one of `acked`'s layers. It can be inherited from.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), reading raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()
    END: ClassVar[type[Exception]]
    """What `next_published` raises when nothing comes any more."""

    def _use(self, layer: FireAndForgetLayer, on_loss: OnLoss) -> None:
        if on_loss not in {"reconnect", "raise", "end"}:
            raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
        self._ends_quietly = on_loss == "end"
        self._channel = Channel(layer, codec=RAW)
        self._inbox = Inbox()
        self._listens = Listens(self, layer, self._inbox)

    async def connect(self) -> None:
        """Connect; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.__aenter__()
        self._inbox.open()

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        await self._listens.clear()
        await self._channel.aclose()
        self._inbox.close()

    async def next_published(self) -> Any:
        """Return the next event; raise when a connection is lost for good."""
        item = await self._inbox.next()
        if item is None:
            raise self.END("this layer is not connected: nothing comes any more")
        if not isinstance(item, Failure):
            return item
        ends = self._ends_quietly and isinstance(item.error, ConnectionLost)
        error = self.END(str(item.error)) if ends else self.driver.also(item.error)
        vars(error)["owner"] = item.owner
        raise error from item.error

    async def _send(self, place: str, body: bytes) -> None:
        """Publish `body`; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.publish(Topic(place, bytes), body)

    def event(self, record: Record) -> BaseEvent:
        """Return the event that `record` is; raise what its serializer raises."""
        raise NotImplementedError

    def dropped(self) -> int:
        """Return how many messages were dropped beneath, of which nobody knows whose they were."""
        return 0


class InMemory(Source):
    """Any object, by reference, and any name; within one process, on asyncio or trio."""

    async def _send(self, place: str, body: Any) -> None:
        await self._channel.layer.publish([Record(place, cast("bytes", body), id="")])
        # The others' turn: an application that publishes in a loop may do nothing else.
        await anyio.lowlevel.checkpoint()


class Failure(NamedTuple):
    """A listening that ended, in its place among the events."""

    error: LayerError
    owner: str | None


class Inbox:
    """What waits for `next_published`, from opening to closing; on one event loop at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._items: deque[BaseEvent | Failure] = deque()

    def open(self) -> None:
        """Begin, with nothing in it."""
        self.is_open, self._changed = True, anyio.Event()
        self._items.clear()

    def close(self) -> None:
        """End: who waits gets None."""
        if self.is_open:
            self.is_open = False
            self._changed.set()

    def put(self, item: BaseEvent | Failure) -> bool:
        """Take `item`; return False if there is no room, which there always is for a failure."""
        if self.is_open:
            if len(self._items) >= CAPACITY and isinstance(item, BaseEvent):
                return False
            self._items.append(item)
            self._changed.set()
        return True

    async def next(self) -> BaseEvent | Failure | None:
        """Return the next item, None after the end."""
        await anyio.lowlevel.checkpoint()
        while self.is_open and not self._items:
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()
        return self._items.popleft() if self._items else None


class Listens:
    """What a source listens to: named as redis-py's `PubSub` names it.

    The patterns of one call are one listening, so that a message that matches two arrives once.
    """

    def __init__(self, source: Source, layer: FireAndForgetLayer, inbox: Inbox) -> None:
        self._source = source
        self._layer = layer
        self._inbox = inbox
        self._calls: dict[tuple[str | None, bool], list[_Call]] = {}
        """By who listens, and whether by pattern."""

    async def subscribe(self, *names: str) -> None:
        """Listen to `names`; returns when the broker has confirmed."""
        for name in names:
            await self._add([name], self._layer.listen, by_pattern=False)

    async def psubscribe(self, *patterns: str) -> None:
        """Listen to whatever matches any of `patterns`; returns when the broker has confirmed."""
        listen = cast("PatternLayer", self._layer).listen_patterns  # only Redis has psubscribe
        await self._add(patterns, listen, by_pattern=True)

    async def unsubscribe(self, *names: str) -> None:
        """Listen no more to `names`, or to any of those of the same subscription."""
        await self._remove(names, (owner(), False))

    async def punsubscribe(self, *patterns: str) -> None:
        """Listen no more to `patterns`, or to any of those of the same subscription."""
        await self._remove(patterns, (owner(), True))

    async def clear(self) -> None:
        """Listen to nothing."""
        for key in tuple(self._calls):
            await self._remove((), key)

    def names(self) -> list[str]:
        """Return what is listened to, a name as often as there are subscriptions to it."""
        return [name for calls in self._calls.values() for call in calls for name in call.names]

    async def _add(self, names: Iterable[str], listen: _Listen, *, by_pattern: bool) -> None:
        calls = self._calls.setdefault((owner(), by_pattern), [])
        wanted = set(names).difference(*(call.names for call in calls))
        if wanted:
            call = _Call(self._source, self._inbox, wanted)
            call.held = Held(listen(sorted(wanted), call))
            calls.append(call)
            try:
                with self._source.driver.translated():
                    await call.held.enter()
            except BaseException:
                calls.remove(call)
                raise

    async def _remove(self, names: Iterable[str], key: tuple[str | None, bool]) -> None:
        left = set(names)
        for call in tuple(self._calls.get(key, ())):
            call.names -= left or set(call.names)
            if not call.names and call in self._calls[key]:
                self._calls[key].remove(call)
                failure = await call.held.leave()
                if failure is not None:
                    logger.warning("leaving %r: %s", key[0], failure)
        if not self._calls.get(key, True):
            del self._calls[key]


class _Call:
    """What was asked for at once, as its layer sees it: see `acked.abc.Sink`."""

    held: Held

    def __init__(self, source: Source, inbox: Inbox, names: set[str]) -> None:
        self.names = names
        self._source = source
        self._inbox = inbox
        self._owner = owner()
        self._dropped = source.dropped()
        self._gap: Gap | None = None

    def offer(self, record: Record) -> bool:
        try:
            event = self._source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            said = "a message of %r (%d bytes) cannot be read and is skipped: %s"
            logger.warning(said, record.topic, len(record.body), type(error).__name__)
            self.gap(UNREADABLE)
            return True
        dropped, self._dropped = self._dropped, self._source.dropped()
        if dropped != self._dropped:
            self.gap(DROPPED_BENEATH)
        event.owner, event.gap = self._owner, self._gap
        if self._inbox.put(event):
            self._gap = None
        else:
            self.gap(OVERFLOW)
        return True

    async def send(self, record: Record) -> None:
        self.offer(record)  # there is never anything to wait for

    def gap(self, gap: Gap) -> None:
        self._gap = gap if self._gap is None else self._gap.merge(gap)

    def fail(self, error: LayerError) -> None:
        self._inbox.put(Failure(error, self._owner))
