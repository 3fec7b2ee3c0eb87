"""The one hub: what a backend says was published, to whoever subscribes to its place.

1. The first subscriber of a place subscribes the backend to it, the last one to leave ends it.
   Both take turns for each place, so that neither can undo the other.
2. An event belongs to the place whose subscribing registered it, else to the one it names.
3. What `next_published` raises fails everybody, now and later. If it has an `owner`, it fails
   those only, and who subscribes to that place afterwards hears again.
4. A subscriber is one before anything is awaited, and who publishes to its place meanwhile waits
   a little for it: start a reader, give it one turn, publish, and it is delivered.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, Final, TypeVar

import anyio

from acked import AckedError, ChannelClosed, LayerError
from acked.compat._backend import InMemory, Late, OwnBackend
from acked.compat._events import OWNER, EventReader, offer_again

__all__ = ("Hub",)

logger = logging.getLogger("acked.compat")

SHORTLY: Final = 1.0
"""Seconds that a publish waits for subscriptions to its place that are under way."""
AT_ONCE: Final = nullcontext()
"""What stands for waiting and bounds where nothing waits: those would cost more than the rest."""

R = TypeVar("R", bound=EventReader[Any])


class _Place(set[EventReader[Any]]):
    """The subscribers of a place, with those that are about to be."""

    is_subscribed = has_failed = False

    def __init__(
        self, name: str, options: Mapping[str, Any], turn: AbstractAsyncContextManager[None]
    ) -> None:
        self.name, self.options = name, options
        self.turn = turn
        """What those wait for who subscribe and leave: no two of them at once."""


class Hub:
    """Has a backend listen while it is open; its events wait for each subscriber.

    Both originals' hubs are faces of it. Built anywhere, also outside an event loop; opened and
    closed by any task, again and again, on one event loop after another.
    """

    EXIT_MAX_DELAY: float
    """Seconds that leaving a subscription may take, and closing a channel of starlette_web."""
    PLACE: ClassVar[str]
    """Which field of an event says where it was published."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        """May be changed while this is not open."""
        self._subscribers: dict[str, _Place] = {}
        self._is_open = self._never_waits = False
        self._hear: Callable[..., None] | None = None
        """What stands for the backend's `subscribe` and `unsubscribe` where those never wait."""
        self._ended: AckedError | None = None
        self._listening: _Listening | None = None
        """What asks a backend that does not hand out by itself."""

    def __repr__(self) -> str:
        state = "connected" if self._is_open else "not connected"
        return f"<{type(self).__name__} over {type(self._backend).__name__}, {state}>"

    async def _enter(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Connect, and listen to what is the backend now."""
        backend = self._backend
        by_itself = isinstance(backend, OwnBackend) and backend.gives_to(self._take)
        self._never_waits = getattr(backend, "never_waits", False)
        self._hear = None
        if isinstance(backend, InMemory) and backend.never_waits:
            self._hear = backend.hear
        await connect()
        self._ended = None
        if not by_itself:
            self._listening = _Listening(self._ask_for_events)
        self._is_open = True

    async def _leave(
        self, disconnect: Callable[[], Awaitable[None]], patience: float = math.inf
    ) -> None:
        """Disconnect within `patience` seconds, also while being cancelled: readers are told."""
        if not self._is_open:
            return
        self._is_open = False
        listening, self._listening = self._listening, None
        for reader in (one for place in self._subscribers.values() for one in place):
            reader.end(ChannelClosed("disconnected"))
        self._subscribers.clear()
        with AT_ONCE if self._never_waits else anyio.fail_after(patience, shield=True):
            if listening is not None:
                await listening.stop()
            await disconnect()

    async def _ask_for_events(self) -> None:
        goes_on = True
        while goes_on:
            try:
                event = await self._backend.next_published()
            except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
                goes_on = self._fail(error)
            else:
                if late := self._take(event):
                    await offer_again(event, late)

    def _take(self, item: Any) -> Late:
        """Offer an event to everybody whose it is, return who had no room; or tell of an error."""
        if isinstance(item, Exception):
            self._fail(item)
            return ()
        name = getattr(item, "owner", None) or getattr(item, self.PLACE)
        gap = getattr(item, "gap", None)
        return [one for one in self._subscribers.get(name, ()) if not one.offer(item, gap)]

    def _fail(self, error: Exception) -> bool:
        """Tell everybody whom `error` is about; return whether it goes on for others."""
        whose: str | None = getattr(error, "owner", None)
        failure: AckedError
        if isinstance(error, ChannelClosed):
            failure = error
        else:
            backend, kind = type(self._backend).__name__, type(error).__name__
            failure = LayerError(f"next_published() of {backend} raised {kind}: {error}")
            failure.__cause__ = error
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
        if place is not None and not place.is_subscribed and OWNER.get() != name:
            with anyio.move_on_after(SHORTLY):
                async with place.turn:
                    pass

    def _subscription(
        self, reader: R, options: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[R]:
        """Let `reader` hear what is published after entering. Any task may leave it."""
        return _Entrance(self._join, self._part, reader, options)

    async def _join(self, reader: EventReader[Any], options: Mapping[str, Any]) -> _Place:
        if not self._is_open:
            raise ChannelClosed(f"{self!r}: connect it, or enter it first")
        name = reader.place
        place = self._subscribers.get(name)
        if place is None:
            turn = AT_ONCE if self._never_waits else anyio.Lock(fast_acquire=True)
            place = self._subscribers[name] = _Place(name, options, turn)
        place.add(reader)
        if (not place.is_subscribed or place.has_failed) and not self._has_agreed(place):
            try:
                await self._agree(place)
            except BaseException:
                await self._part(reader, place)
                raise
        if self._ended is not None:
            reader.end(self._ended)
        return place

    async def _part(self, reader: EventReader[Any], place: _Place) -> None:
        place.discard(reader)
        reader.left()
        if place or self._subscribers.get(place.name) is not place:
            return
        if self._has_agreed(place):
            del self._subscribers[place.name]
            return
        bound = self.EXIT_MAX_DELAY
        with anyio.move_on_after(bound, shield=True) as scope:
            await self._forget(place)
        if scope.cancelled_caught:
            logger.warning("leaving %r took more than %g s: given up", place.name, bound)

    def _has_agreed(self, place: _Place) -> bool:
        """Do what `_agree` does where the backend needs no turn of the loop for it; say if so."""
        hear = self._hear
        if hear is None or place.options:
            return False
        place.is_subscribed = bool(place)
        hear(place.name, whether=place.is_subscribed)
        return True

    async def _forget(self, place: _Place) -> None:
        try:
            await self._agree(place)
        finally:
            if not place and self._subscribers.get(place.name) is place:
                del self._subscribers[place.name]

    async def _agree(self, place: _Place) -> None:
        """Let the backend listen to `place` if somebody subscribes to it, and only then."""
        async with place.turn:
            if place.is_subscribed and (place.has_failed or not place):
                place.is_subscribed = False
                try:
                    await self._ask("unsubscribe", place)
                except Exception as error:  # noqa: BLE001 - must not hide what the body raised
                    logger.warning("leaving %r: %s: %s", place.name, type(error).__name__, error)
            if place and not place.is_subscribed:
                await self._ask("subscribe", place)
                place.is_subscribed, place.has_failed = True, False

    async def _ask(self, method: str, place: _Place) -> None:
        """Let the backend do `method`; what names it registers meanwhile belong to `place`."""
        token = OWNER.set(place.name)
        try:
            await getattr(self._backend, method)(place.name, **place.options)
        finally:
            OWNER.reset(token)


class _Entrance(AbstractAsyncContextManager[R]):
    """One subscription, entered once. No generator: within a process that costs half of it all."""

    __slots__ = ("_join", "_options", "_part", "_place", "_reader")

    def __init__(
        self,
        join: Callable[[R, Mapping[str, Any]], Awaitable[_Place]],
        part: Callable[[R, _Place], Awaitable[None]],
        reader: R,
        options: Mapping[str, Any],
    ) -> None:
        self._join, self._part = join, part
        self._reader, self._options = reader, options

    async def __aenter__(self) -> R:
        self._place = await self._join(self._reader, self._options)
        return self._reader

    async def __aexit__(self, *exc_info: object) -> None:
        await self._part(self._reader, self._place)


class _Listening:
    """A task in nobody's group, so that any task may stop it."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._scope, self._ended = anyio.CancelScope(), anyio.Event()
        self._task: object  # asyncio keeps none by itself
        try:
            self._task = asyncio.get_running_loop().create_task(self._run(work))
        except RuntimeError:
            import trio  # noqa: PLC0415 - only here for who runs on it

            self._task = trio.lowlevel.spawn_system_task(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await work()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Cancel it, and return when it has ended."""
        self._scope.cancel()
        await self._ended.wait()
