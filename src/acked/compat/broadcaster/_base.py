"""`Broadcast`, and what it hands out."""

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import anyio

from acked import ChannelClosed, Overflow
from acked.compat._holding import Held
from acked.compat.broadcaster._custom import CustomBackend
from acked.compat.broadcaster._events import Event, Unsubscribed
from acked.compat.broadcaster._subscriber import Subscriber
from acked.compat.broadcaster.backends._source import CustomSource, OnLoss, Source
from acked.errors import ConfigurationError

__all__ = ("Broadcast", "Event", "Subscriber", "Unsubscribed")

CAPACITY: Final = 65_536
"""How many events may wait for a subscriber; the original kept any number, until memory ended."""

LEAVING: Final = 5.0
"""Seconds within which a subscription is left, and so the most that disconnecting takes."""

BACKENDS: Final = {
    "memory": ("memory", "MemoryBackend"),
    "redis": ("redis", "RedisBackend"),
    "rediss": ("redis", "RedisBackend"),
    "redis-stream": ("redis", "RedisStreamBackend"),
    "rediss-stream": ("redis", "RedisStreamBackend"),
    "postgres": ("postgres", "PostgresBackend"),
    "postgresql": ("postgres", "PostgresBackend"),
    "kafka": ("kafka", "KafkaBackend"),
}


class Broadcast:
    """Publishes to channels, and lets any number of subscribers hear them.

    Built anywhere, also at import time. `async with` it, or `connect()` and `disconnect()`, which
    may be called by different tasks, again and again. `on_loss` says what a lost connection is to
    subscribers: it is made again and the next event has a `gap` ("reconnect"), `get()` and
    `async for` raise ("raise"), or they end as if disconnected ("end"); Kafka's client always goes
    on by itself, and misses nothing. `capacity` bounds how many events wait for a subscriber; one
    more drops the oldest, which is counted and logged.

    Raises `AssertionError` with neither `url` nor `backend`, `ValueError` for an unknown scheme,
    `ConfigurationError` (a `ValueError`) for a URL or option that cannot be.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        backend: CustomBackend | None = None,
        on_loss: OnLoss = "reconnect",
        capacity: int = CAPACITY,
    ) -> None:
        if not url and backend is None:
            raise AssertionError("Either `url` or `backend` must be provided.")
        if on_loss not in {"reconnect", "raise", "end"}:
            raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
        if capacity < 1:
            raise ConfigurationError(f"capacity={capacity}: needs to be at least 1")
        self._backend: CustomBackend = _backend_of(url or "") if backend is None else backend
        self._source = _source_of(self._backend)
        self._source.prepare(reconnects=on_loss == "reconnect")
        self._ends_quietly = on_loss == "end"
        self._capacity = capacity
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._held: set[Held] = set()
        self._turn = anyio.Lock()
        self._is_connected = False

    def __repr__(self) -> str:
        state = "connected" if self._is_connected else "not connected"
        return f"<Broadcast over {type(self._backend).__name__}, {state}>"

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect; a second call changes nothing. Raises when the broker cannot be reached."""
        async with self._turn:
            if not self._is_connected:
                await self._source.connect()
                self._is_connected = True

    async def disconnect(self) -> None:
        """Disconnect: `async for` of every subscriber ends, `get()` raises `Unsubscribed`."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._is_connected:
                    self._is_connected = False
                    await asyncio.gather(*(held.leave() for held in self._held))
                    await self._source.disconnect()

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; raises, in `acked`'s words and the driver's kind, if that failed.

        Redis need not be connected for that, as in the original, but then connects each time.
        """
        if not self._is_connected and self._source.publishes_unconnected:
            async with self._turn:
                if not self._is_connected:
                    await self._publish_alone(channel, message)
                    return
        await self._backend.publish(channel, message)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncGenerator[Subscriber]:
        """Subscribe: whatever is published after entering arrives. Any task may leave it."""
        if not self._is_connected:
            raise ChannelClosed("this Broadcast is not connected; await broadcast.connect() first")
        source = self._source
        news = source.channel.subscribe(
            channel,
            capacity=self._capacity,
            overflow=Overflow.DROP_OLDEST,
            close_timeout=LEAVING,
        )
        subscriber = Subscriber(channel, news, source, ends_quietly=self._ends_quietly)
        held = Held(news)
        self._held.add(held)
        try:
            with source.driver.translated():
                await held.enter()
            self._subscribers.setdefault(channel, set()).add(subscriber)
            try:
                yield subscriber
            finally:
                self._forget(channel, subscriber)
                subscriber.closed()
        finally:
            self._held.discard(held)
            await held.leave()

    async def _publish_alone(self, channel: str, message: Any) -> None:
        await self._source.connect()
        try:
            await self._backend.publish(channel, message)
        finally:
            with anyio.CancelScope(shield=True):
                await self._source.disconnect()

    def _forget(self, channel: str, subscriber: Subscriber) -> None:
        remaining = self._subscribers[channel]
        remaining.discard(subscriber)
        if not remaining:
            del self._subscribers[channel]


def _backend_of(url: str) -> Source:
    scheme = urlsplit(url).scheme
    if scheme not in BACKENDS:
        raise ValueError(f"Unsupported backend: {scheme}")
    module, name = BACKENDS[scheme]
    # Not before it is needed: each of them needs a driver, and most applications have but one.
    found = importlib.import_module(f"acked.compat.broadcaster.backends.{module}")
    return cast("Source", getattr(found, name)(url))


def _source_of(backend: CustomBackend) -> Source:
    return backend if isinstance(backend, Source) else CustomSource(backend)
