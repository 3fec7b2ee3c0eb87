"""One of `acked`'s layers as a backend, whose errors are those of its driver, too."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import lru_cache, partial
from types import new_class
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, cast

from acked import (
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    PublishFailed,
    Record,
    Topic,
)
from acked.abc import FireAndForgetLayer
from acked.codecs import RAW
from acked.compat._backend import Late, OwnBackend
from acked.compat._events import OWNER, BaseEvent, offer_again

__all__ = ("Driver", "OnLoss", "Source", "as_bytes", "layers_way", "leave_out")

logger = logging.getLogger("acked.compat")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]

OURS: Final = ("__module__", "__doc__", "__str__", "__repr__")
TLS: Final = ("ca_", "cert", "cipher", "direct_tls", "key_", "keyfile_", "ssl", "tls")
"""How options begin that say whom to trust."""
UNREADABLE: Final = Gap(1, frozenset({GapCause.BROKER}))


class Driver(NamedTuple):
    """What an application knows errors of its driver as: `except redis.ConnectionError`."""

    lost: tuple[type[Exception], ...] = ()
    """Those of a connection that broke or could not be made."""
    refused: tuple[type[Exception], ...] = ()

    def also(self, error: LayerError) -> LayerError:
        """Return a copy of `error` that is an instance of the driver's kinds, too."""
        ours, theirs = type(error), self.lost if _is_loss(error) else self.refused
        parents = (ours, *(kind for kind in theirs if not issubclass(ours, kind)))
        # What it says stays ours: redis' repr needs what redis' __init__ would have set.
        content = {name: getattr(ours, name) for name in OURS}
        # Not `type`, which would not do: asyncpg's errors have a metaclass of their own.
        kind = new_class(ours.__name__, parents, exec_body=lambda body: body.update(content))
        made = cast("LayerError", kind.__new__(kind, *error.args))
        made.args = error.args
        made.__dict__.update(error.__dict__)
        return made

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise what `also` makes of a `LayerError` within."""
        try:
            yield
        except LayerError as error:
            raise self.also(error) from error


def _is_loss(error: BaseException) -> bool:
    if isinstance(error, PublishFailed):
        return any(_is_loss(one) for one in error.failures.values())
    return isinstance(error, ConnectionLost)


class Source(OwnBackend):
    """A backend that is a face of one of `acked`'s layers.

    `on_loss` says what a lost connection is to subscribers: it is made again and the next event
    has a `gap` ("reconnect", the default), reading raises ("raise"), or it ends ("end").
    """

    driver: ClassVar[Driver] = Driver()
    publishes_unconnected: ClassVar[bool] = False
    """Whether publishing connects by itself, each time, as the original's client does."""
    _encode: Callable[[Any], bytes]
    _decode: Callable[[bytes], Any]
    """How a message becomes a body, and a body the message of an event."""

    def __init__(
        self, kind: Callable[..., FireAndForgetLayer], url: str, on_loss: OnLoss, **options: Any
    ) -> None:
        self._make = partial(kind, url, on_loss=layers_way(on_loss), **options)
        self._channel = self._new_channel()
        self.ends_quietly: bool = on_loss == "end"
        self._calls: list[_Call] = []
        """What is listened to: each call as it was made."""

    async def connect(self) -> None:
        """Connect; raises an error of `acked` that is the driver's own, too."""
        await super().connect()
        with self.driver.translated():
            await self._channel.__aenter__()

    async def disconnect(self) -> None:
        """Disconnect: nothing is listened to any more."""
        while self._calls:
            await self._calls.pop().listening.__aexit__(None, None, None)
        await self._channel.aclose()
        await super().disconnect()

    def event(self, record: Record) -> BaseEvent:
        """Return the event that `record` is; raise what its serializer raises."""
        return type(self).EVENT(record.topic, self._decode(record.body))

    def _new_channel(self) -> Channel[FireAndForgetLayer]:
        return Channel(self._make(), codec=RAW, verify_bodies=False)

    async def _send(self, place: str, message: Any) -> None:
        """Publish `message`; raises an error of `acked` that is the driver's own, too."""
        topic, body = _topic(place), self._encode(message)
        try:
            if self._inbox is not None or not self.publishes_unconnected:
                await self._channel.publish(topic, body)
                return
            async with self._new_channel() as channel:
                await channel.publish(topic, body)
        except LayerError as error:
            raise self.driver.also(error) from error

    async def _listen(self, *names: str, patterns: bool = False) -> None:
        whose = OWNER.get(), patterns
        fresh = set(names).difference(*(call.names for call in self._calls if call.whose == whose))
        if not fresh:
            return
        # Not through the channel: what can be listened to need not be a topic's name.
        layer: Any = self._channel.layer
        call = _Call(self, whose, fresh)
        call.listening = (layer.listen_patterns if patterns else layer.listen)(sorted(fresh), call)
        with self.driver.translated():
            await call.listening.__aenter__()
        self._calls.append(call)

    async def _unlisten(self, *names: str, patterns: bool = False) -> None:
        whose = OWNER.get(), patterns
        for call in [one for one in self._calls if one.whose == whose]:
            call.names -= set(names or call.names)
            if not call.names and call in self._calls:
                self._calls.remove(call)
                await call.listening.__aexit__(None, None, None)


@lru_cache(4096)
def _topic(place: str) -> Topic[bytes]:
    return Topic(place, bytes)


class _Call:
    """What was asked for at once, as its layer sees it: see `acked.abc.Sink`."""

    listening: AbstractAsyncContextManager[None]
    """Of a layer that lets another task leave it than the one that entered it."""

    def __init__(self, source: Source, whose: tuple[str | None, bool], names: set[str]) -> None:
        self.whose, self.names = whose, names
        """Which subscription asked for it, and whether by pattern."""
        self._all, self._source = frozenset(names), source
        self._event: BaseEvent
        self._late: Late = ()

    def offer(self, record: Record) -> bool:
        if record.topic not in self.names and record.topic in self._all:
            return True  # left, while others of the same call are not
        try:
            self._event = self._source.event(record)
        except Exception as error:  # noqa: BLE001 - whoever can publish could end every subscriber
            said = "a message of %r (%d bytes) cannot be read and is skipped: %s"
            logger.warning(said, record.topic, len(record.body), type(error).__name__)
            self._source.miss(UNREADABLE, self.whose[0])
        else:
            self._late = self._source.take(self._event, self.whose[0])
        return not self._late

    async def send(self, record: Record) -> None:
        if self._late or not self.offer(record):
            late, self._late = self._late, ()
            await offer_again(self._event, late)

    def gap(self, gap: Gap) -> None:
        self._source.miss(gap, self.whose[0])

    def fail(self, cause: LayerError) -> None:
        ends = self._source.ends_quietly and isinstance(cause, ConnectionLost)
        error = ChannelClosed(str(cause)) if ends else self._source.driver.also(cause)
        error.__cause__ = cause
        vars(error)["owner"] = self.whose[0]
        self._source.put(error)


def as_bytes(message: object) -> bytes | None:
    """Return the bytes of text or bytes, None for whatever is neither."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, memoryview):
        return message.tobytes()
    return bytes(message) if isinstance(message, bytes | bytearray) else None


def leave_out(names: Iterable[str], given_to: str) -> None:
    """Log the options that `acked` has no use for; refuse those of TLS, which is not weakened."""
    unused = sorted(names)
    for name in unused:
        if name.startswith(TLS):
            raise ConfigurationError(f"{name}= cannot be kept here, and TLS is not weakened")
    if unused:
        said = "%s: acked has its own way instead of these options: %s"
        logger.info(said, given_to, ", ".join(unused))


def layers_way(on_loss: OnLoss) -> Literal["reconnect", "raise"]:
    """Return what a layer does, which knows no end without an error."""
    if on_loss not in {"reconnect", "raise", "end"}:
        raise ConfigurationError(f"on_loss={on_loss!r}: say 'reconnect', 'raise' or 'end'")
    return "raise" if on_loss == "end" else on_loss
