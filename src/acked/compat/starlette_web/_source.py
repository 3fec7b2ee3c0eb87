"""What our layers over brokers have in common: a channel of `acked`, and what it listens to."""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal, TypeAlias

from acked import Channel, Gap, GapCause, Topic
from acked.abc import FireAndForgetLayer, PatternLayer
from acked.codecs import RAW
from acked.compat._drivers import Driver
from acked.compat._holding import Held
from acked.compat.starlette_web.common.channels._inbox import Inbox, owner
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.exceptions import ListenerClosed
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.compat.starlette_web.common.http.exceptions import ImproperlyConfigured
from acked.errors import LayerError
from acked.types import Record

__all__ = ("Listens", "OnLoss", "Source", "way")

logger = logging.getLogger("acked.compat.starlette_web")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]

UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))
DROPPED: Final = Gap(None, frozenset({GapCause.OVERFLOW}))

_Key: TypeAlias = tuple[str | None, bool, str]
"""Who listens, whether by pattern, and to what."""


def way(on_loss: OnLoss) -> Literal["reconnect", "raise"]:
    """Return what `on_loss` is to a layer of `acked`."""
    return "reconnect" if on_loss == "reconnect" else "raise"


class Source(BaseChannelLayer):
    """A layer that is a face of one of `acked`'s. It can be inherited from.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), `async for` raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()

    def __init__(self, layer: FireAndForgetLayer, on_loss: OnLoss, options: Iterable[str]) -> None:
        super().__init__()
        if on_loss not in {"reconnect", "raise", "end"}:
            raise ImproperlyConfigured(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
        unused = ", ".join(sorted(options))
        if unused:
            logger.info(
                "%s: acked has no use for these options, and its own way instead: %s",
                type(self).__name__,
                unused,
            )
        self._ends_quietly = on_loss == "end"
        self._channel: Final = Channel(layer, codec=RAW)
        self._inbox: Final = Inbox()
        self._listens: Final = Listens(layer, self._inbox, self)

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

    async def subscribe(self, group: str, **kwargs: Any) -> None:
        """Listen to `group`; returns when the broker has confirmed."""
        del kwargs
        with self.driver.translated():
            await self._listens.subscribe(group)

    async def unsubscribe(self, group: str, **kwargs: Any) -> None:
        """Undo `subscribe`."""
        del kwargs
        await self._listens.unsubscribe(group)

    async def _send(self, group: str, body: bytes) -> None:
        """Publish `body`; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.publish(Topic(group, bytes), body)

    async def next_published(self) -> Event:
        """Return the next event; raise when the connection is lost for good."""
        try:
            return await self._inbox.next()
        except LayerError as error:
            if self._ends_quietly:
                raise ListenerClosed(details=str(error)) from error
            raise self.driver.also(error) from error

    def event(self, record: Record) -> Event:
        """Return the event that `record` is; raise what its serializer raises."""
        raise NotImplementedError

    def dropped(self) -> int:
        """Return how many messages were dropped beneath, of which nobody knows whose they were."""
        return 0


class Listens:
    """What a layer listens to: named as redis-py's `PubSub` names it.

    What is asked for by one call is one listening, so of its patterns a message that matches two
    arrives once; it ends when the last of its names was left.
    """

    def __init__(self, layer: FireAndForgetLayer, inbox: Inbox, source: Source) -> None:
        self._layer = layer
        self._inbox = inbox
        self._source = source
        self._calls: dict[_Key, _Call] = {}

    async def subscribe(self, *names: str) -> None:
        """Listen to `names`; returns when the broker has confirmed."""
        await self._add(names, by_pattern=False)

    async def unsubscribe(self, *names: str) -> None:
        """Listen no more to `names`, or to any of those of the same subscription."""
        await self._remove(names, by_pattern=False)

    async def psubscribe(self, *patterns: str) -> None:
        """Listen to whatever matches any of `patterns`; returns when the broker has confirmed."""
        await self._add(patterns, by_pattern=True)

    async def punsubscribe(self, *patterns: str) -> None:
        """Listen no more to `patterns`, or to any of those of the same subscription."""
        await self._remove(patterns, by_pattern=True)

    async def clear(self) -> None:
        """Listen to nothing."""
        for key in tuple(self._calls):
            await self._drop(key)

    async def _add(self, names: Iterable[str], *, by_pattern: bool) -> None:
        keys = [(owner(), by_pattern, name) for name in dict.fromkeys(names)]
        fresh = [key for key in keys if key not in self._calls]
        if not fresh:
            return
        wanted = [name for _, _, name in fresh]
        sink = _Door(self._inbox, self._source)
        if by_pattern:
            assert isinstance(self._layer, PatternLayer)  # noqa: S101 - only Redis has psubscribe
            call = _Call(Held(self._layer.listen_patterns(wanted, sink)), wanted, sink)
        else:
            call = _Call(Held(self._layer.listen(wanted, sink)), wanted, sink)
        self._calls |= dict.fromkeys(fresh, call)
        try:
            await call.held.enter()
        except BaseException:
            for key in fresh:
                self._calls.pop(key, None)
            raise

    async def _remove(self, names: Iterable[str], *, by_pattern: bool) -> None:
        mine = [key for key in self._calls if key[:2] == (owner(), by_pattern)]
        wanted = set(names)
        for key in mine:
            if not wanted or key[2] in wanted:
                await self._drop(key)

    async def _drop(self, key: _Key) -> None:
        call = self._calls.pop(key, None)
        if call is not None and call.forgot(key[2]):
            await call.held.leave()


class _Door:
    """Where a listening delivers; it knows for whom."""

    def __init__(self, inbox: Inbox, source: Source) -> None:
        self.left: Final[set[str]] = set()
        """Names that are listened to no more, though others of the same call are."""
        self._inbox = inbox
        self._source = source
        self._owner = owner()
        self._dropped = source.dropped()
        self._gap: Gap | None = None

    def offer(self, record: Record) -> bool:
        """Hand on `record`; see `acked.abc.Sink`."""
        event = self._addressed(record)
        taken = event is None or self._inbox.offer(event)
        if taken and event is not None:
            self._gap = None
        return taken

    async def send(self, record: Record) -> None:
        """Hand on `record`, waiting for room; see `acked.abc.Sink`."""
        event = self._addressed(record)
        # Without a turn of the loop for each, as long as there is room: they may come in a burst.
        if event is not None and not self._inbox.offer(event):
            await self._inbox.send(event)
        if event is not None:
            self._gap = None

    def gap(self, gap: Gap) -> None:
        """Tell with the next event; see `acked.abc.Sink`."""
        self._gap = gap if self._gap is None else self._gap.merge(gap)

    def fail(self, error: LayerError) -> None:
        """Let `next_published` raise `error`; see `acked.abc.Sink`."""
        self._inbox.fail(error)

    def _addressed(self, record: Record) -> Event | None:
        """Return the event, None for what nobody wants or can read."""
        if record.topic in self.left:
            return None
        try:
            event = self._source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            logger.warning(
                "a message of %r (%d bytes) cannot be read and is skipped: %s",
                record.topic,
                len(record.body),
                type(error).__name__,
            )
            self.gap(UNREADABLE)
            return None
        dropped, self._dropped = self._dropped, self._source.dropped()
        if dropped != self._dropped:
            self.gap(DROPPED)
        event.owner = self._owner
        event.gap = self._gap
        return event


class _Call:
    """What was asked for at once."""

    def __init__(self, held: Held, names: Iterable[str], door: _Door) -> None:
        self.held: Final = held
        self._names = set(names)
        self._door = door

    def forgot(self, name: str) -> bool:
        """Forget `name`; return whether that was the last one."""
        self._names.discard(name)
        self._door.left.add(name)
        return not self._names
