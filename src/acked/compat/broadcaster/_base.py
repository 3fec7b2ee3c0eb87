"""`Broadcast`, and what it hands out; what its backends are made of."""

import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import anyio

from acked import AckedError, ConfigurationError, EncodeError, LayerError
from acked.compat._backend import Backend
from acked.compat._events import CAPACITY, BaseEvent, EventReader
from acked.compat._hub import AT_ONCE, Hub
from acked.compat._source import OnLoss, Source, as_bytes

__all__ = ("Broadcast", "Event", "Subscriber", "Unsubscribed")

BACKENDS: Final = {
    "memory": "memory:MemoryBackend",
    "redis": "redis:RedisBackend",
    "rediss": "redis:RedisBackend",
    "redis-stream": "redis:RedisStreamBackend",
    "rediss-stream": "redis:RedisStreamBackend",
    "postgres": "postgres:PostgresBackend",
    "postgresql": "postgres:PostgresBackend",
    "kafka": "kafka:KafkaBackend",
}


# Called as in the original, and so is its namesake of starlette_web.
@dataclass
class Event(BaseEvent):
    """A message and the channel it came by; `gap` tells of what may have been missed before it."""

    channel: str
    message: Any


class Unsubscribed(Exception):
    """The subscription was left, or the `Broadcast` disconnected: nothing comes any more."""


# Called as in the original, and so is its namesake of starlette_web.
class Subscriber(EventReader[Event]):
    """The events of one channel, in order; any task may read, each event goes to one of them."""

    LOGGER: ClassVar[logging.Logger] = logging.getLogger("acked.compat.broadcaster")
    END: ClassVar[type[Exception]] = Unsubscribed

    def get(self) -> Coroutine[Any, Any, Event]:
        """Return the next event, waiting for it.

        Raises `Unsubscribed` after the subscription was left or the `Broadcast` disconnected, a
        `LayerError` that is also the driver's own when nothing will come any more.
        """
        return self._next()

    def _raised(self, error: AckedError) -> BaseException:
        raised = super()._raised(error)
        return raised if isinstance(raised, LayerError | Unsubscribed) else error


class BroadcastBackend(Backend):
    """What a backend of your own may inherit from."""

    EVENT: ClassVar[Callable[[str, Any], Event]] = Event

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    def publish(self, channel: str, message: Any) -> Coroutine[Any, Any, None]:
        """Publish `message`: any object within a process, text by a broker."""
        sending: Coroutine[Any, Any, None] = self._send(channel, message)
        return sending


class TextSource(Source, BroadcastBackend):
    """A backend that is a face of a layer; inherit from it to change what `publish` does."""

    def _encode(self, message: Any) -> bytes:
        is_number = isinstance(message, int | float) and not isinstance(message, bool)
        body = as_bytes(repr(message) if is_number else message)
        if body is None:
            raise EncodeError(
                f"nothing was published: {type(message).__name__} is no text; "
                "publish json.dumps(...) of it"
            )
        return body

    def _decode(self, body: bytes) -> str:
        return body.decode(errors="replace")  # nobody's bytes are an error


class Broadcast(Hub):
    """Publishes to channels, and lets any number of subscribers hear them.

    Built anywhere, also at import time. `async with` it, or `connect()` and `disconnect()`, which
    may be called by different tasks, again and again. Raises `AssertionError` with neither `url`
    nor `backend`, `ValueError` for an unknown scheme, `ConfigurationError` (a `ValueError`) for
    what cannot be.
    """

    EXIT_MAX_DELAY: float = 5.0
    PLACE: ClassVar[str] = "channel"

    def __init__(
        self,
        url: str | None = None,
        *,
        backend: Any = None,
        on_loss: OnLoss = "reconnect",
        capacity: int = CAPACITY,
    ) -> None:
        if not url and backend is None:
            raise AssertionError("Either `url` or `backend` must be provided.")
        if backend is not None and on_loss != "reconnect":
            raise ConfigurationError("on_loss= goes with a url; give it to the backend instead")
        if capacity < 1:
            raise ConfigurationError(f"capacity={capacity}: needs to be at least 1")
        super().__init__(_backend_of(url or "", on_loss) if backend is None else backend)
        self._capacity = capacity
        self._turn = anyio.Lock(fast_acquire=True)
        """What those wait for who connect and disconnect."""

    async def connect(self) -> None:
        """Connect; a second call changes nothing. Raises when the broker cannot be reached."""
        async with AT_ONCE if self._is_quick else self._turn:
            await super().connect()

    async def disconnect(self) -> None:
        """Disconnect: `async for` of every subscriber ends, `get()` raises `Unsubscribed`."""
        async with AT_ONCE if self._is_quick else self._turn:
            await super().disconnect()

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; raises, in `acked`'s words and the driver's kind, if that failed.

        Redis need not be connected for that, as in the original, but then connects each time.
        """
        if entering := self._subscribing(channel):
            await entering
        await self._backend.publish(channel, message)

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[Subscriber]:
        """Subscribe: whatever is published after entering arrives. Any task may leave it."""
        if self._is_open and self._ended is not None:
            raise self._ended.with_traceback(None)
        return Subscriber(channel, self._capacity, self._join, self._part)


_resolved: Final = cache(resolve_name)


def _backend_of(url: str, on_loss: OnLoss) -> Any:
    scheme = urlsplit(url).scheme
    if scheme not in BACKENDS:
        raise ValueError(f"Unsupported backend: {scheme}")
    # Not before it is needed: each of them needs a driver, and most applications have but one.
    return _resolved(f"{__package__}.backends.{BACKENDS[scheme]}")(url, on_loss=on_loss)
