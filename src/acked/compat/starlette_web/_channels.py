"""The channels of starlette_web, which has each part in a module of its own."""

import json
import logging
import pickle
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from acked import ConfigurationError, Record
from acked.abc import FireAndForgetLayer
from acked.compat._backend import Backend, InMemory
from acked.compat._events import CAPACITY, BaseEvent, EventReader
from acked.compat._hub import Hub
from acked.compat._source import OnLoss, Source

logger = logging.getLogger("acked.compat.starlette_web")

TLS: Final = ("ca_", "cert", "cipher", "direct_tls", "key_", "keyfile_", "ssl", "tls")
"""How options begin that say whom to trust."""


class BaseApplicationError(Exception):
    """An error with a message for people, details for developers, and a status for HTTP."""

    message: str = "INTERNAL_SERVER_ERROR"
    details: str | None = None
    status_code: int = 500

    def __init__(
        self, details: str | None = None, message: str | None = None, status_code: int | None = None
    ) -> None:
        self.message = message or self.message
        self.details = details or self.details
        self.status_code = status_code or self.status_code
        super().__init__("\n".join(part for part in (self.message, self.details) if part))


class ImproperlyConfigured(BaseApplicationError):
    """An option is wrong."""

    message = "Application is configured improperly."


class NotSupportedError(BaseApplicationError, NotImplementedError):
    """A layer cannot do what was asked of it."""

    message = "Requested action is not supported now."


class ChannelsError(BaseApplicationError):
    """A channel cannot do what was asked of it."""


class ListenerClosed(ChannelsError):
    """Raised by a layer's `next_published`: nothing comes any more. It ends `async for`."""


class SerializerError(BaseApplicationError):
    """A message and its bytes do not go together."""


class SerializeError(SerializerError):
    """The message cannot become bytes."""


class DeserializeError(SerializerError):
    """The bytes are none of this serializer's."""


# Called as in the original, and so is its namesake of broadcaster.
@dataclass
class Event(BaseEvent):
    """A message and the group it was published to: its own name, not a pattern."""

    group: str
    message: Any


# Called as in the original, and so is its namesake of broadcaster.
class Subscriber(EventReader[Event]):
    """The events of one group, in order; any task may read, each event goes to one of them."""

    LOGGER: ClassVar[logging.Logger] = logger
    END: ClassVar[type[Exception]] = ListenerClosed


# Called as in the original, like `acked.Channel`, which it is a face of.
class Channel(Hub):
    """Publishes to groups, and lets any number of subscribers hear them.

    Built anywhere, also outside an event loop. Enter and leave it again and again, on one event
    loop after another; use it from any task meanwhile. What its block raises comes out as it is.
    """

    EXIT_MAX_DELAY: float = 60
    """Seconds that leaving a subscription or the channel may take."""
    PLACE: ClassVar[str] = "group"
    BACKEND: ClassVar[str] = "_channel_layer"

    def __init__(self, channel_layer: Any) -> None:
        super().__init__()
        self._channel_layer = channel_layer

    async def __aenter__(self) -> Self:
        """Connect, and listen from now on. Raises what the layer's `connect` raises."""
        if self._is_open:
            raise ConfigurationError("this channel is open; make another one for that")
        await self._enter(self.connect)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Disconnect: `async for` of every subscriber ends."""
        await self._leave(self.disconnect, self.EXIT_MAX_DELAY)

    async def connect(self) -> None:
        """Connect the layer."""
        await self._channel_layer.connect()

    async def disconnect(self) -> None:
        """Disconnect the layer."""
        await self._channel_layer.disconnect()

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message` by the layer, which takes `kwargs`; never waits for a subscriber."""
        await self._subscribing(group)
        await self._channel_layer.publish(group, message, **kwargs)

    def subscribe(
        self, group: str, max_buffer_size: float = 0, **kwargs: Any
    ) -> AbstractAsyncContextManager[Subscriber]:
        """Subscribe by the layer, which takes `kwargs`; what is published afterwards arrives.

        At most `max_buffer_size` events wait to be read; one more drops the oldest, which is
        counted, logged, and told by the next event's `gap`. 0 and infinity are 65,536.
        """
        capacity = int(max_buffer_size) if 1 <= max_buffer_size < CAPACITY else CAPACITY
        return self._subscription(Subscriber(group, capacity), kwargs)


class BaseSerializer:
    """What a serializer of your own inherits from; layers ask for its two methods only."""

    def serialize(self, content: Any) -> Any:
        """Return the bytes (or text) that carry `content`; raise `SerializeError` if none do."""
        raise NotImplementedError

    def deserialize(self, content: Any) -> Any:
        """Return what the bytes `content` carry; raise `DeserializeError` if that is nothing."""
        raise NotImplementedError


class BytesSerializer(BaseSerializer):
    """A serializer to bytes."""


class _ByModule(BytesSerializer):
    MODULE: ClassVar[Any]

    def serialize(self, content: Any) -> Any:
        try:
            return self.MODULE.dumps(content)
        except Exception as error:  # pickle raises nearly anything
            raise SerializeError(self._unfit(content)) from error

    def deserialize(self, content: Any) -> Any:
        try:
            return self.MODULE.loads(content)
        except Exception as error:
            raise DeserializeError(self._unfit(content)) from error

    def _unfit(self, content: object) -> str:
        return f"{type(content).__name__}: not for {self.MODULE.__name__}"


class JSONSerializer(_ByModule):
    """JSON: whoever can publish can send data, and nothing but data."""

    MODULE: ClassVar[Any] = json

    def serialize(self, content: Any) -> bytes:
        """Return JSON."""
        text: str = super().serialize(content)
        return text.encode()

    def deserialize(self, content: Any) -> Any:
        """Return the value; None for nothing at all."""
        return super().deserialize(content or b"null")


class PickleSerializer(_ByModule):
    """Any picklable object, where everybody who can publish may run any code in every subscriber.

    To unpickle is to call whatever function the bytes name: the original does so by default.
    """

    MODULE: ClassVar[Any] = pickle


class MQTTSerializer(JSONSerializer):
    """Bytes and text as they are, anything else as JSON; what arrives is read as JSON, or text."""

    def serialize(self, content: Any) -> bytes:
        """Return the payload."""
        if isinstance(content, bytes | bytearray):
            return bytes(content)
        if isinstance(content, memoryview):
            return content.tobytes()
        return content.encode() if isinstance(content, str) else super().serialize(content)

    def deserialize(self, content: Any) -> Any:
        """Return the JSON value, else the text, else the bytes."""
        if content:
            with suppress(DeserializeError):
                return super().deserialize(content)
        with suppress(UnicodeDecodeError):
            return content.decode()
        return content


class BaseChannelLayer(Backend):
    """The methods of a layer. `Channel` asks for these, not for this class."""

    REFUSAL: ClassVar[type[Exception]] = NotSupportedError

    def __init__(self, **options: Any) -> None:
        del options


class InMemoryChannelLayer(InMemory, BaseChannelLayer):
    """Hands messages to the subscribers of the same channel, and lets others run for each."""

    CLOSED: ClassVar[type[Exception]] = RuntimeError
    EVENT: ClassVar[Callable[[str, Any], Event]] = Event
    IN_A_TURN: ClassVar[int] = 1

    def __init__(self, max_buffer_size: float = 0, **_: Any) -> None:
        super().__init__()
        self.max_buffer_size = max_buffer_size  # not needed: subscribers have buffers of their own

    @property
    def _subscribed(self) -> Counter[str]:
        return Counter({name: len(heard) for name, heard in self._heard.items()})

    async def publish(self, group: str, message: Any, **_: Any) -> None:
        """Publish the very object, to nobody if nobody listens; `RuntimeError` when not entered."""
        await self._send(group, message)


class SourceLayer(Source, BaseChannelLayer):
    """A channel layer that is a face of one of `acked`'s. It can be inherited from."""

    serializer_class: ClassVar[type[BaseSerializer]] = JSONSerializer

    def __init__(
        self,
        kind: Callable[..., FireAndForgetLayer],
        url: str,
        on_loss: OnLoss,
        unused: Iterable[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(kind, url, on_loss, **options)
        self._serializer = self.serializer_class()
        for name in unused:
            if name.startswith(TLS):
                raise ConfigurationError(f"{name}= cannot be kept here, and TLS is not weakened")
        if names := ", ".join(sorted(unused)):
            logger.info("%s: acked has no use for these options: %s", type(self).__name__, names)

    def event(self, record: Record) -> Event:
        """Return the event; raises what the serializer raises."""
        return Event(record.topic, self._serializer.deserialize(record.body))


@contextmanager
def configured() -> Generator[None]:
    """Raise `ImproperlyConfigured` for an option that cannot be."""
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        raise ImproperlyConfigured(details=str(error)) from error
