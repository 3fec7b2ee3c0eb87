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
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import anyio

from acked import AckedError, ChannelClosed, LayerError
from acked.compat._backend import InMemory, Late, OwnBackend, inherits
from acked.compat._events import OWNER, EventReader, offer_again

__all__ = ("AT_ONCE", "Hub")

logger = logging.getLogger("acked.compat")

SHORTLY: Final = 1.0
"""Seconds that a publish waits for subscriptions to its place that are under way."""


AT_ONCE: Final = nullcontext()
"""What stands for locks and scopes where nothing waits: those would cost more than the rest."""
WITHOUT_A_TURN: Final = ("connect", "disconnect", "subscribe", "unsubscribe")


class _Place(set[EventReader[Any]]):
    """The subscribers of a place, with those that are about to be."""

    is_subscribed = has_failed = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, options

    @cached_property
    def turn(self) -> anyio.Lock:
        """What those wait for who subscribe and leave, where that waits: no two of them at once."""
        return anyio.Lock(fast_acquire=True)


class Hub:
    """Has a backend listen while it is open; both originals' hubs are faces of it."""

    EXIT_MAX_DELAY: float
    """Seconds that leaving a subscription may take."""
    PLACE: ClassVar[str]
    """Which field of an event says where it was published."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        """May be changed while this is not open."""
        self._subscribers: dict[str, _Place] = {}
        self._is_open = False
        self._at_once: InMemory | None = None
        """The backend where subscribing and leaving need no turn of the loop."""
        self._ended: AckedError | None = None
        self._listening: _Listening | None = None
        """What asks a backend that does not hand out by itself."""

    def __repr__(self) -> str:
        state = "connected" if self._is_open else "not connected"
        return f"<{type(self).__name__} over {type(self._backend).__name__}, {state}>"

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.disconnect()

    @property
    def _is_quick(self) -> bool:
        """Whether the backend does all but publishing without a turn of the loop."""
        return inherits(self._backend, InMemory, *WITHOUT_A_TURN)

    async def connect(self) -> None:
        """Connect, and listen from now on; a second call changes nothing.

        Raises what the backend's `connect` raises, as when the broker cannot be reached.
        """
        if self._is_open:
            return
        backend = self._backend
        await backend.connect()
        self._at_once = backend if self._is_quick else None
        self._ended = None
        if inherits(backend, OwnBackend, "next_published"):
            backend.put = self._take
        else:
            self._listening = _Listening(self._ask_for_events)
        self._is_open = True

    async def disconnect(self) -> None:
        """Disconnect, also while being cancelled: `async for` of every subscriber ends."""
        if not self._is_open:
            return
        self._is_open = False
        listening, self._listening = self._listening, None
        for reader in (one for place in self._subscribers.values() for one in place):
            reader.end(ChannelClosed("disconnected"))
        self._subscribers.clear()
        with AT_ONCE if self._at_once else anyio.CancelScope(shield=True):
            if listening is not None:
                await listening.stop()
            await self._backend.disconnect()

    async def _ask_for_events(self) -> None:
        while self._ended is None:
            try:
                item = await self._backend.next_published()
            except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
                item = error
            if late := self._take(item):
                await offer_again(item, late)

    def _take(self, item: Any) -> Late:
        """Offer an event to everybody whose it is, return who had no room; or tell of an error."""
        if isinstance(item, Exception):
            self._fail(item)
            return ()
        name = getattr(item, "owner", None) or getattr(item, self.PLACE)
        gap = getattr(item, "gap", None)
        late: Late = ()
        for reader in self._subscribers.get(name, ()):
            if not reader.offer(item, gap):
                late = (*late, reader)
        return late

    def _fail(self, error: Exception) -> None:
        """Tell everybody whom `error` is about."""
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

    def _subscribing(self, name: str) -> Awaitable[None] | None:
        """Return what waits a little for subscriptions to `name`, if any are under way."""
        place = self._subscribers.get(name)
        # Not where a backend's own `subscribe` publishes.
        if place is None or place.is_subscribed or OWNER.get() == name:
            return None
        return _shortly(place.turn)

    async def _join(self, reader: EventReader[Any]) -> None:
        if not self._is_open:
            raise ChannelClosed(f"{self!r}: connect it, or enter it first")
        name = reader.place
        place = self._subscribers.get(name)
        if place is None:
            place = self._subscribers[name] = _Place(name, reader.options)
        place.add(reader)
        if (not place.is_subscribed or place.has_failed) and not self._has_agreed(place):
            try:
                await self._agree(place)
            except BaseException:
                await self._part(reader)
                raise
        if self._ended is not None:
            reader.end(self._ended)

    async def _part(self, reader: EventReader[Any]) -> None:
        reader.left()
        place = self._subscribers.get(reader.place)
        if place is None or reader not in place:  # disconnected meanwhile
            return
        place.remove(reader)
        if place or self._has_agreed(place):
            return
        with anyio.move_on_after(self.EXIT_MAX_DELAY, shield=True) as scope:
            await self._agree(place)
        if scope.cancelled_caught:
            said = "leaving %r took more than %g s: given up"
            logger.warning(said, place.name, self.EXIT_MAX_DELAY)

    def _has_agreed(self, place: _Place) -> bool:
        """Do what `_agree` does where that needs no turn of the loop; say if so."""
        backend = self._at_once
        if backend is None or place.options:
            return False
        place.is_subscribed = bool(place)
        backend.hear(place.name, place.name, whether=place.is_subscribed)
        if not place:
            del self._subscribers[place.name]
        return True

    async def _agree(self, place: _Place) -> None:
        """Let the backend listen to `place` if somebody subscribes to it, and only then."""
        name, token = place.name, OWNER.set(place.name)
        try:
            async with place.turn:
                if place.is_subscribed and (place.has_failed or not place):
                    place.is_subscribed = False
                    try:
                        await self._backend.unsubscribe(name, **place.options)
                    except Exception as error:  # noqa: BLE001 - must not hide what the body raised
                        logger.warning("leaving %r: %s: %s", name, type(error).__name__, error)
                if place and not place.is_subscribed:
                    await self._backend.subscribe(name, **place.options)
                    place.is_subscribed, place.has_failed = True, False
        finally:
            OWNER.reset(token)
            if not place and self._subscribers.get(name) is place:
                del self._subscribers[name]


async def _shortly(turn: anyio.Lock) -> None:
    with anyio.move_on_after(SHORTLY):
        async with turn:
            pass


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
