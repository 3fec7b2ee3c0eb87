"""One of `acked`'s layers with the methods that both originals ask a backend for."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias

import anyio
import anyio.lowlevel

from acked import (
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    Topic,
)
from acked.abc import FireAndForgetLayer
from acked.codecs import RAW
from acked.compat._drivers import Driver
from acked.compat._events import BaseEvent, Inbox, owner
from acked.compat._held import Held
from acked.compat._relay import Relay
from acked.types import Record

__all__ = ("Backend", "InMemory", "OnLoss", "Source", "checked")

logger = logging.getLogger("acked.compat")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]

CAPACITY: Final = 65_536
"""Events that wait for `next_published`; one more is dropped, and told by a gap."""
PUBLISHED_IN_A_TURN: Final = 32
"""Messages to who has room for them before the other tasks have their turn."""
NAMES: Final = ("channel", "group")
LEAVING: Final = 5.0
"""Seconds that a layer may take to stop listening."""
OVERFLOW: Final = Gap(1, frozenset({GapCause.OVERFLOW}))
DROPPED: Final = Gap(None, frozenset({GapCause.OVERFLOW}))
UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))


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


class Source(Hears):
    """A backend that is a face of one of `acked`'s layers.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), reading raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()

    def _use(self, layer: FireAndForgetLayer, on_loss: OnLoss) -> None:
        super().__init__()
        self._ends_quietly = on_loss == "end"
        self._channel = Channel(layer, codec=RAW)
        self._calls: dict[tuple[str | None, bool], list[_Call]] = {}
        """What is listened to, by who does and whether by pattern."""
        self._losses = 0

    async def connect(self) -> None:
        """Connect; raises an error of `acked` that is the driver's own, too."""
        with self.driver.translated():
            await self._channel.__aenter__()
        await super().connect()

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        async with anyio.create_task_group() as leaving:
            for key in tuple(self._calls):
                leaving.start_soon(self._end, key, set[str]())
        await self._channel.aclose()
        await super().disconnect()

    def lost(self, times: int) -> int:
        """Note that a connection was lost for the `times`th time; return how often one was.

        Who listens on it, hundreds perhaps, is told one by one; the log has one line for each time.
        """
        if times > self._losses:
            self._losses = times
            said = "subscribers may have missed messages: the connection of %s was made again"
            logger.warning(said, type(self).__name__)
        return self._losses

    def fail(self, cause: LayerError, whose: str | None) -> None:
        """Let subscribers, or `next_published`, raise what `cause` is to them."""
        ends = self._ends_quietly and isinstance(cause, ConnectionLost)
        error = self.END(str(cause)) if ends else self.driver.also(cause)
        error.__cause__ = cause
        vars(error)["owner"] = whose
        if self._relay is not None:
            self._relay.fail(error)
        elif self._inbox is not None:
            self._inbox.offer(error)

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
                    self._calls.pop((owner(), patterns), None)
                raise

    async def _unlisten(self, *names: str, patterns: bool = False) -> None:
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
        self._owner, self._dropped, self._losses = owner(), source.dropped(), source.lost(0)

    def offer(self, record: Record) -> bool:
        source = self._source
        if record.topic not in self.names and record.topic in self._all:
            return True  # left, while others of the same call are not
        before, self._dropped = self._dropped, source.dropped()
        if before != self._dropped:
            source.missed(DROPPED, self._owner)
        try:
            event = source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            said = "a message of %r (%d bytes) cannot be read and is skipped: %s"
            logger.warning(said, record.topic, len(record.body), type(error).__name__)
            source.missed(UNREADABLE, self._owner)
        else:
            source.take(event, self._owner)
        return True

    async def send(self, record: Record) -> None:
        self.offer(record)  # there is never anything to wait for

    def gap(self, gap: Gap) -> None:
        if GapCause.RECONNECT in gap.causes:
            self._losses += 1
            self._losses = self._source.lost(self._losses)
        self._source.missed(gap, self._owner)

    def fail(self, error: LayerError) -> None:
        self._source.fail(error, self._owner)


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


def checked(on_loss: OnLoss) -> OnLoss:
    """Return `on_loss`; raise `ConfigurationError` for what it cannot be."""
    if on_loss not in {"reconnect", "raise", "end"}:
        raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
    return on_loss
