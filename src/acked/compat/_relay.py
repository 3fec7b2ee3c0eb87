"""The one bridge: what a backend's `next_published` returns, to whoever subscribes.

A backend is any object with `connect`, `disconnect`, `subscribe`, `unsubscribe`, `publish` and
`next_published`: of an application, or one of ours.
"""

import itertools
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio

from acked import Channel, ChannelClosed, LayerError, Overflow, Topic
from acked.abc import Sink
from acked.compat._events import EventReader, owning
from acked.compat._held import Held
from acked.layers.memory import MemoryLayer
from acked.types import Record

__all__ = ("CAPACITY", "Bridge", "Relay")

logger = logging.getLogger("acked.compat")

CAPACITY: Final = 65_536
"""Events that may wait for a subscriber; the originals kept any number, until memory ended."""


class ByReference:
    """A codec for events, which are objects of this process and never become bytes."""

    content_type: str = "application/x-python-object"

    def decoder(self, payload: type[Any]) -> Callable[[Any], Any]:
        """Return a function that gives back what it is given."""
        del payload
        return lambda event: event

    encoder = decoder


class Bridge(MemoryLayer):
    """A backend of either original as a layer of `acked`; each subscription has a topic of its own.

    1. The first subscriber of a place subscribes the backend to it, the last one to leave ends it.
       Both take turns for each place, so that neither can undo the other.
    2. An event belongs to the place whose subscribing registered it, else to the one it names.
    3. What `next_published` raises fails everybody, now and later. If it has an `owner`, it fails
       those only, and who subscribes to that place afterwards hears again.
    """

    def __init__(self, backend: Any, place_of: Callable[[Any], str], patience: float) -> None:
        super().__init__()
        self.ended: LayerError | None = None
        self._backend = backend
        self._place_of = place_of
        self._patience = patience
        self.asked: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._places: dict[str, _Shared] = {}
        self._numbers = itertools.count(1)

    def topic(self, place: str, options: Mapping[str, Any]) -> str:
        """Return what to listen to for `place`, which need not be a legal name of a topic."""
        topic = f"subscriber-{next(self._numbers)}"
        self.asked[topic] = place, options
        return topic

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed the events of the place that is asked for into `sink`."""
        (topic,) = topics
        place, options = self.asked[topic]
        shared = self._places.setdefault(place, _Shared())
        shared.users += 1
        try:
            async with shared.turn:
                if shared.has_failed:
                    await self._unsubscribe(place, shared, options)
                if not shared.is_subscribed:
                    with owning(place):
                        await self._backend.subscribe(place, **options)
                    shared.is_subscribed, shared.has_failed = True, False
            shared.sinks[sink] = topic
            if self.ended is not None:
                sink.fail(self.ended)
            yield
        finally:
            shared.sinks.pop(sink, None)
            with anyio.move_on_after(self._patience, shield=True) as scope:
                await self._leave(place, shared, options)
            if scope.cancelled_caught:
                logger.warning("leaving %r took more than %g s: given up", place, self._patience)

    async def _leave(self, place: str, shared: "_Shared", options: Mapping[str, Any]) -> None:
        async with shared.turn:
            shared.users -= 1
            if not shared.users:
                await self._unsubscribe(place, shared, options)
            # Race: somebody may have come meanwhile, and waits for the turn.
            if not shared.users and self._places.get(place) is shared:
                del self._places[place]

    async def _unsubscribe(self, place: str, shared: "_Shared", options: Mapping[str, Any]) -> None:
        if shared.is_subscribed:
            shared.is_subscribed = False
            try:
                with owning(place):
                    await self._backend.unsubscribe(place, **options)
            except Exception as error:  # noqa: BLE001 - must not hide what the body raised
                logger.warning("leaving %r: %s: %s", place, type(error).__name__, error)

    async def run(self) -> None:
        """Hand out events until `next_published` has raised."""
        self.ended = None
        goes_on = True
        while goes_on:
            try:
                event = await self._backend.next_published()
            except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
                goes_on = self.fail(error)
            else:
                self.hand_out(event)

    def hand_out(self, event: Any) -> None:
        """Hand `event` to everybody whose it is."""
        owner: str | None = getattr(event, "owner", None)
        shared = self._places.get(self._place_of(event) if owner is None else owner)
        gap = getattr(event, "gap", None)
        for sink, topic in shared.sinks.items() if shared is not None else ():
            if gap is not None:
                sink.gap(gap)
            sink.offer(Record(topic, cast("bytes", event), id=""))

    def fail(self, error: Exception) -> bool:
        """Tell everybody whom `error` is about; return whether it goes on for others."""
        owner: str | None = getattr(error, "owner", None)
        name, kind = type(self._backend).__name__, type(error).__name__
        failure = LayerError(f"next_published() of {name} raised {kind}: {error}")
        failure.__cause__ = error
        if owner is None:
            self.ended = failure
        for place, shared in self._places.items():
            if owner in {None, place}:
                shared.has_failed = True
                for sink in shared.sinks:
                    sink.fail(failure)
        return owner is not None

    def clear(self) -> None:
        """Forget all places: subscriptions of a backend end with its connection."""
        for shared in self._places.values():
            shared.is_subscribed = False
        self._places.clear()


class _Shared:
    """A place that somebody subscribes to, or is about to."""

    def __init__(self) -> None:
        self.turn: Final = anyio.Lock()
        self.users = 0
        self.is_subscribed = self.has_failed = False
        self.sinks: dict[Sink, str] = {}


class Relay:
    """Has a backend listen while it is open; its events wait for each subscriber.

    Both originals' hubs are faces of it. Built anywhere, also outside an event loop; opened and
    closed by any task, again and again, on one event loop after another.
    """

    EXIT_MAX_DELAY: float
    """Seconds that leaving a subscription may take."""

    def __init__(self, backend: Any, place_of: Callable[[Any], str]) -> None:
        self._bridge = Bridge(backend, place_of, self.EXIT_MAX_DELAY)
        # A subscriber that outstays the closing is told, and not waited for.
        self._events = Channel(self._bridge, codec=ByReference(), close_timeout=0.0)
        self._subscribers: dict[str, set[Any]] = {}
        self._open: Held | None = None

    async def _enter(self, backend: Any, patience: float = math.inf) -> bool:
        """Connect `backend` and listen; return whether that was to be done.

        Disconnecting may take `patience` seconds.
        """
        if self._open is not None:
            return False
        held = Held(self._opened(backend, patience))
        await held.enter()
        self._open = held
        return True

    async def _leave(self) -> None:
        """Disconnect, also while being cancelled: whoever reads is told."""
        held, self._open = self._open, None
        if held is not None and (failure := await held.leave()) is not None:
            raise failure

    @asynccontextmanager
    async def _opened(self, backend: Any, patience: float) -> AsyncGenerator[None]:
        await backend.connect()
        try:
            async with self._events, anyio.create_task_group() as tasks:
                tasks.start_soon(self._bridge.run)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._bridge.clear()
            self._subscribers.clear()
            with anyio.fail_after(patience, shield=True):
                await backend.disconnect()

    @asynccontextmanager
    async def _subscribed(
        self, place: str, capacity: int, options: Mapping[str, Any], kind: type[EventReader[Any]]
    ) -> AsyncGenerator[Any]:
        """Subscribe: whatever is published after entering arrives. Any task may leave it."""
        if self._open is None:
            raise ChannelClosed(f"{self!r}: connect it, or enter it first")
        topic = Topic(self._bridge.topic(place, options), object)
        messages = self._events.subscribe(
            topic,
            capacity=capacity,
            overflow=Overflow.DROP_OLDEST,
            close_timeout=self.EXIT_MAX_DELAY,
        )
        held = Held(messages)
        try:
            await held.enter()
        finally:
            del self._bridge.asked[topic.name]
        subscriber = kind(place, messages)
        subscribers = self._subscribers.setdefault(place, set())
        subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            subscriber.closed()
            subscribers.discard(subscriber)
            if not subscribers and self._subscribers.get(place) is subscribers:
                del self._subscribers[place]
            if (failure := await held.leave()) is not None:
                logger.warning("leaving %r: %s", place, failure)
