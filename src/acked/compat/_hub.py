"""The one hub: what a backend says was published, to whoever subscribes to its place.

1. The first subscriber of a place subscribes the backend to it, the last one to leave ends it.
   Both take turns for each place, so that neither can undo the other.
2. An event belongs to the place whose subscribing registered it, else to the one it names.
3. What `next_published` raises fails everybody, now and later. If it has an `owner`, it fails
   those only, and who subscribes to that place afterwards hears again.
4. A subscriber is one before anything is awaited, and who publishes to its place meanwhile waits
   a little for it: start a reader, give it one turn, publish, and it is delivered.
"""

import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cached_property
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from acked import AckedError, ChannelClosed, Gap, LayerError
from acked.compat._backend import Backend
from acked.compat._events import EventReader, owner, owning
from acked.compat._held import Held

__all__ = ("Hub",)

logger = logging.getLogger("acked.compat")

SHORTLY: Final = 1.0
"""Seconds that a publish waits for subscriptions to its place that are under way."""

R = TypeVar("R", bound=EventReader[Any])
Asked: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class _Place(set[EventReader[Any]]):
    """The subscribers of a place, with those that are about to be."""

    is_subscribed = has_failed = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.name: Final = name
        self.options: Final = options

    @cached_property
    def turn(self) -> anyio.Lock:
        """What those wait for who subscribe and leave: no two of them at once."""
        return anyio.Lock(fast_acquire=True)


class Hub:
    """Has a backend listen while it is open; its events wait for each subscriber.

    Both originals' hubs are faces of it. Built anywhere, also outside an event loop; opened and
    closed by any task, again and again, on one event loop after another.
    """

    EXIT_MAX_DELAY: float
    """Seconds that leaving a subscription may take."""
    PLACE: ClassVar[str]
    """Which field of an event says where it was published."""
    is_paced: bool = True
    """Whether events are handed out one in a turn of the loop. Brokers' connections bring them by
    hundreds: so a reader that keeps up needs no large buffer."""

    def __init__(self) -> None:
        self._subscribers: dict[str, _Place] = {}
        self._turn: AbstractAsyncContextManager[None] = nullcontext()
        """What those who open and close wait for, where several tasks may."""
        self._is_open = False
        self._ended: AckedError | None = None
        self._listening: Held | None = None
        self._never_waits = False
        """Whether subscribing and leaving are done at once, so that nobody needs turns."""

    def _over(self) -> Backend:
        """Return the backend, which may be changed while this is not open."""
        raise NotImplementedError

    async def _enter(self, connect: Asked) -> bool:
        """Connect, and listen to what is the backend now; return whether that was to be done."""
        async with self._turn:
            if self._is_open:
                return False
            backend = self._over()
            hands_to: Callable[..., bool] = getattr(backend, "hands_to", lambda *_, **__: False)
            by_itself = hands_to(self.hand_out, self.fail, is_paced=self.is_paced)
            self._never_waits = getattr(backend, "never_waits", False)
            await connect()
            self._ended = None
            if not by_itself:
                listening = Held(self._listens(backend))
                try:
                    await listening.enter()
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await backend.disconnect()
                    raise
                self._listening = listening
            self._is_open = True
            return True

    async def _leave(self, disconnect: Asked, patience: float = math.inf) -> None:
        """Disconnect within `patience` seconds, also while being cancelled: readers are told."""
        # In memory nothing waits, and a scope would cost more than all the rest.
        at_once = self._never_waits and patience == math.inf
        with nullcontext() if at_once else anyio.fail_after(patience, shield=True):
            async with self._turn:
                if not self._is_open:
                    return
                self._is_open = False
                listening, self._listening = self._listening, None
                if listening is not None:
                    await listening.leave()
                for reader in (one for place in self._subscribers.values() for one in place):
                    reader.end(ChannelClosed("disconnected"))
                self._subscribers.clear()
                await disconnect()

    @asynccontextmanager
    async def _listens(self, backend: Backend) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, backend)
            yield
            tasks.cancel_scope.cancel()

    async def _run(self, backend: Backend) -> None:
        """Hand out events until `next_published` has raised."""
        goes_on = True
        while goes_on:
            try:
                event = await backend.next_published()
            except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
                goes_on = self.fail(error)
            else:
                self.hand_out(event)
                if self.is_paced:
                    await anyio.lowlevel.checkpoint()

    def hand_out(self, event: Any) -> None:
        """Hand `event` to everybody whose it is."""
        place: str | None = getattr(event, "owner", None)
        gap: Gap | None = getattr(event, "gap", None)
        for reader in self._subscribers.get(place or getattr(event, self.PLACE), ()):
            reader.offer(event, gap)

    def fail(self, error: Exception) -> bool:
        """Tell everybody whom `error` is about; return whether it goes on for others."""
        whose: str | None = getattr(error, "owner", None)
        backend, kind = type(self._over()).__name__, type(error).__name__
        failure: AckedError = LayerError(f"next_published() of {backend} raised {kind}: {error}")
        failure.__cause__ = error
        if isinstance(error, ChannelClosed):
            failure = error
        if whose is None:
            self._ended = failure
        for name, place in self._subscribers.items():
            if whose in {None, name}:
                place.has_failed = True
                for reader in place:
                    reader.end(failure)
        return whose is not None

    async def _subscribing(self, name: str) -> None:
        """Wait a little for subscriptions to the place `name` that are under way."""
        place = self._subscribers.get(name)
        # Not where a backend's own `subscribe` publishes.
        if place is not None and not place.is_subscribed and owner() != name:
            with anyio.move_on_after(SHORTLY):
                async with place.turn:
                    pass

    async def join(self, reader: EventReader[Any], options: Mapping[str, Any]) -> _Place:
        """Let `reader` be a subscriber, also when this raises, and return where it is one."""
        if not self._is_open:
            raise ChannelClosed(f"{self!r}: connect it, or enter it first")
        place = self._subscribers.get(reader.place)
        if place is None:
            place = self._subscribers[reader.place] = _Place(reader.place, options)
        place.add(reader)
        if not place.is_subscribed or place.has_failed:
            try:
                await self._begin(place)
            except BaseException:
                await self.part(reader, place)
                raise
        if self._ended is not None:
            reader.end(self._ended)
        return place

    async def part(self, reader: EventReader[Any], place: _Place) -> None:
        """Let `reader` hear nothing more."""
        place.discard(reader)
        reader.left()
        if not place and self._subscribers.get(place.name) is place:
            await self._end(place)

    async def _begin(self, place: _Place) -> None:
        async with nullcontext() if self._never_waits else place.turn:
            if place.has_failed:
                await self._unsubscribe(place)
            if not place.is_subscribed:
                with owning(place.name):
                    await self._over().subscribe(place.name, **place.options)
                place.is_subscribed, place.has_failed = True, False

    async def _end(self, place: _Place) -> None:
        if self._never_waits:
            await self._unsubscribe(place)
            del self._subscribers[place.name]
            return
        with anyio.move_on_after(self.EXIT_MAX_DELAY, shield=True) as scope:
            try:
                async with place.turn:
                    if not place:  # Race: somebody may have come meanwhile.
                        await self._unsubscribe(place)
            finally:
                if not place and self._subscribers.get(place.name) is place:
                    del self._subscribers[place.name]
        if scope.cancelled_caught:
            took = self.EXIT_MAX_DELAY
            logger.warning("leaving %r took more than %g s: given up", place.name, took)

    async def _unsubscribe(self, place: _Place) -> None:
        if place.is_subscribed:
            place.is_subscribed = False
            try:
                with owning(place.name):
                    await self._over().unsubscribe(place.name, **place.options)
            except Exception as error:  # noqa: BLE001 - must not hide what the body raised
                logger.warning("leaving %r: %s: %s", place.name, type(error).__name__, error)


class Subscribing(AbstractAsyncContextManager[R], Generic[R]):
    """A subscription: what is published after entering arrives. Any task may leave it."""

    def __init__(self, hub: Hub, reader: R, options: Mapping[str, Any]) -> None:
        self._hub, self._reader, self._options = hub, reader, options

    async def __aenter__(self) -> R:
        self._place = await self._hub.join(self._reader, self._options)
        return self._reader

    async def __aexit__(self, *exc_info: object) -> None:
        await self._hub.part(self._reader, self._place)
