"""One of `acked`'s layers with the methods that both originals ask a backend for."""

import logging
from typing import Any, ClassVar, Final, Literal, TypeAlias

import anyio

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
from acked.compat._backend import Hears
from acked.compat._errors import Driver
from acked.compat._events import OVERFLOW, BaseEvent, merged, owner
from acked.compat._held import Held
from acked.types import Record

__all__ = ("OnLoss", "Source", "checked", "way")

logger = logging.getLogger("acked.compat")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]

DROPPED: Final = Gap(None, frozenset({GapCause.OVERFLOW}))
UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))


class Source(Hears):
    """A backend that is a face of one of `acked`'s layers.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), reading raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()

    def _use(self, layer: FireAndForgetLayer, on_loss: OnLoss) -> None:
        self._ends_quietly = on_loss == "end"
        self._channel = Channel(layer, codec=RAW, verify_bodies=False)
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
        error = ChannelClosed(str(cause)) if ends else self.driver.also(cause)
        error.__cause__ = cause
        vars(error)["owner"] = whose
        if self._hand_out is not None:
            self._tell(error)
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
        key = owner(), patterns
        calls = self._calls.get(key, [])
        fresh = set(names).difference(*(call.names for call in calls))
        if not fresh:
            return
        # Not through the channel: what can be listened to need not be a topic's name.
        layer: Any = self._channel.layer
        call = _Call(self, fresh)
        listen = layer.listen_patterns if patterns else layer.listen
        call.held = Held(listen(sorted(fresh), call))
        self._calls.setdefault(key, []).append(call)
        try:
            with self.driver.translated():
                await call.held.enter()
        except BaseException:
            self._forget(key, call)
            raise

    async def _unlisten(self, *names: str, patterns: bool = False) -> None:
        await self._end((owner(), patterns), set(names))

    async def _end(self, key: tuple[str | None, bool], left: set[str]) -> None:
        for call in tuple(self._calls.get(key, ())):
            call.names -= left or set(call.names)
            if not call.names and self._forget(key, call):
                await call.held.leave()

    def _forget(self, key: tuple[str | None, bool], call: "_Call") -> bool:
        """Forget `call`; return whether it was known."""
        calls = self._calls.get(key, [])
        is_known = call in calls
        if is_known:
            calls.remove(call)
        if not calls:
            self._calls.pop(key, None)
        return is_known


class _Call:
    """What was asked for at once, as its layer sees it: see `acked.abc.Sink`."""

    held: Held

    def __init__(self, source: Source, names: set[str]) -> None:
        self.names = names
        self._all, self._source = frozenset(names), source
        self._owner, self._dropped, self._losses = owner(), source.dropped(), source.lost(0)
        self._gap: Gap | None = None
        """What was missed before the next event."""

    def offer(self, record: Record) -> bool:
        source = self._source
        if record.topic not in self.names and record.topic in self._all:
            return True  # left, while others of the same call are not
        before, self._dropped = self._dropped, source.dropped()
        if before != self._dropped:
            self._gap = merged(self._gap, DROPPED)
        try:
            event = source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            said = "a message of %r (%d bytes) cannot be read and is skipped: %s"
            logger.warning(said, record.topic, len(record.body), type(error).__name__)
            self._gap = merged(self._gap, UNREADABLE)
        else:
            is_taken = source.take(event, self._owner, self._gap)
            self._gap = None if is_taken else merged(self._gap, OVERFLOW)
        return True

    async def send(self, record: Record) -> None:
        self.offer(record)  # there is never anything to wait for

    def gap(self, gap: Gap) -> None:
        if GapCause.RECONNECT in gap.causes:
            self._losses += 1
            self._losses = self._source.lost(self._losses)
        self._gap = merged(self._gap, gap)

    def fail(self, error: LayerError) -> None:
        self._source.fail(error, self._owner)


def checked(on_loss: OnLoss) -> OnLoss:
    """Return `on_loss`; raise `ConfigurationError` for what it cannot be."""
    if on_loss not in {"reconnect", "raise", "end"}:
        raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
    return on_loss


def way(on_loss: OnLoss) -> Literal["reconnect", "raise"]:
    """Return what a layer does that knows no end without an error."""
    return "raise" if on_loss == "end" else on_loss
