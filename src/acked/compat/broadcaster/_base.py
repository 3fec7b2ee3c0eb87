"""`Broadcast`, and what it hands out; what its backends are made of."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final, Self, cast
from urllib.parse import urlsplit

import anyio

from acked import AckedError, ConfigurationError, EncodeError, LayerError, Record
from acked.abc import FireAndForgetLayer
from acked.compat._backend import Backend
from acked.compat._events import CAPACITY, BaseEvent, EventReader
from acked.compat._hub import Hub, Subscribing
from acked.compat._source import OnLoss, Source, checked

__all__ = ("Broadcast", "Event", "Subscriber", "Unsubscribed")

BACKENDS: Final = {
    "memory": "memory.MemoryBackend",
    "redis": "redis.RedisBackend",
    "rediss": "redis.RedisBackend",
    "redis-stream": "redis.RedisStreamBackend",
    "rediss-stream": "redis.RedisStreamBackend",
    "postgres": "postgres.PostgresBackend",
    "postgresql": "postgres.PostgresBackend",
    "kafka": "kafka.KafkaBackend",
}


# Called as in the original, and so is its namesake of starlette_web.
class Event(BaseEvent):
    """A message and the channel it came by; `gap` tells of what may have been missed before it."""

    PLACE: ClassVar[str] = "channel"

    def __init__(self, channel: str, message: Any) -> None:
        self.channel: str = channel
        self.message: Any = message


class Unsubscribed(Exception):
    """The subscription was left, or the `Broadcast` disconnected: nothing comes any more."""


# Called as in the original, and so is its namesake of starlette_web.
class Subscriber(EventReader[Event]):
    """The events of one channel, in order; any task may read, each event goes to one of them."""

    LOGGER: ClassVar[logging.Logger] = logging.getLogger("acked.compat.broadcaster")
    END: ClassVar[type[Exception]] = Unsubscribed

    async def get(self) -> Event:
        """Return the next event, waiting for it.

        Raises `Unsubscribed` after the subscription was left or the `Broadcast` disconnected, a
        `LayerError` that is also the driver's own when nothing will come any more.
        """
        return await self._next()

    def _raised(self, error: AckedError) -> BaseException:
        raised = super()._raised(error)
        known = raised is not error and isinstance(raised, LayerError | Unsubscribed)
        return raised if known else _told_again(error)


class BroadcastBackend(Backend):
    """What a backend of your own may inherit from."""

    def __init__(self, url: str) -> None:
        raise NotImplementedError


class TextSource(Source, BroadcastBackend):
    """A backend that is a face of a layer; inherit from it to change what `publish` does."""

    publishes_unconnected: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self._url = url
        self.prepare("reconnect")

    def layer(self, on_loss: OnLoss) -> FireAndForgetLayer:
        """Return the layer; what a lost connection is to it is for `Broadcast` to say."""
        raise NotImplementedError

    def prepare(self, on_loss: OnLoss) -> None:
        """Make the layer, not opened yet."""
        self._use(self.layer(on_loss), on_loss)

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; see `acked.Channel.publish`."""
        await self._send(channel, as_bytes(message))

    def event(self, record: Record) -> Event:
        """Return the event, with U+FFFD where it is no UTF-8: nobody's bytes are an error."""
        return Event(record.topic, record.body.decode(errors="replace"))


def as_bytes(message: object) -> bytes:
    """Return the bytes of a text, of bytes, or of a number's digits; else raise `EncodeError`."""
    if isinstance(message, bytes | bytearray):
        return bytes(message)
    if isinstance(message, memoryview):
        return message.tobytes()
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, int | float) and not isinstance(message, bool):
        return repr(message).encode()
    raise EncodeError(
        f"nothing was published: {type(message).__name__} is no text; publish json.dumps(...) of it"
    )


class Broadcast(Hub):
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

    EXIT_MAX_DELAY: float = 5.0
    PLACE: ClassVar[str] = Event.PLACE

    def __init__(
        self,
        url: str | None = None,
        *,
        backend: Backend | None = None,
        on_loss: OnLoss = "reconnect",
        capacity: int = CAPACITY,
    ) -> None:
        if not url and backend is None:
            raise AssertionError("Either `url` or `backend` must be provided.")
        checked(on_loss)
        if capacity < 1:
            raise ConfigurationError(f"capacity={capacity}: needs to be at least 1")
        super().__init__()
        self._backend: Backend = _backend_of(url or "") if backend is None else backend
        self._on_loss: OnLoss = on_loss
        self._capacity = capacity
        self.is_paced: bool = capacity < CAPACITY
        self._turn = anyio.Lock(fast_acquire=True)

    def __repr__(self) -> str:
        state = "connected" if self._is_open else "not connected"
        return f"<Broadcast over {type(self._backend).__name__}, {state}>"

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect; a second call changes nothing. Raises when the broker cannot be reached."""
        await self._enter(self._connect)

    async def _connect(self) -> None:
        if (prepare := getattr(self._backend, "prepare", None)) is not None:
            prepare(self._on_loss)
        await self._backend.connect()

    async def disconnect(self) -> None:
        """Disconnect: `async for` of every subscriber ends, `get()` raises `Unsubscribed`."""
        await self._leave(self._backend.disconnect)

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; raises, in `acked`'s words and the driver's kind, if that failed.

        Redis need not be connected for that, as in the original, but then connects each time.
        """
        await self._subscribing(channel)
        backend = self._backend
        if not self._is_open and getattr(backend, "publishes_unconnected", False):
            async with self._turn:
                if not self._is_open:
                    await backend.connect()
                    try:
                        await backend.publish(channel, message)
                    finally:
                        await backend.disconnect()
                    return
        await backend.publish(channel, message)

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[Subscriber]:
        """Subscribe: whatever is published after entering arrives. Any task may leave it."""
        if self._is_open and self._ended is not None:
            raise _told_again(self._ended)
        return Subscribing(self, Subscriber(channel, self._capacity), {})

    def _over(self) -> Backend:
        return self._backend


def _told_again(failure: AckedError) -> LayerError:
    told = LayerError(str(failure))
    told.__cause__ = failure
    return told


def _backend_of(url: str) -> Backend:
    scheme = urlsplit(url).scheme
    if scheme not in BACKENDS:
        raise ValueError(f"Unsupported backend: {scheme}")
    return _kind_of(scheme)(url)


@cache
def _kind_of(scheme: str) -> Callable[[str], Backend]:
    # Not before it is needed: each of them needs a driver, and most applications have but one.
    module, _, name = BACKENDS[scheme].partition(".")
    kind = getattr(import_module(f"acked.compat.broadcaster.backends.{module}"), name)
    return cast("Callable[[str], Backend]", kind)
