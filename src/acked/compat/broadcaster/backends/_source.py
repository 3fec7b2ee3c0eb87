"""What our backends have in common: a channel of `acked`, and the driver's kinds of error."""

from typing import Any, ClassVar, Literal, TypeAlias

from acked import Channel, Message
from acked.abc import FireAndForgetLayer
from acked.compat._by_reference import BY_REFERENCE
from acked.compat._drivers import Driver
from acked.compat.broadcaster._custom import CustomBackend, CustomLayer
from acked.compat.broadcaster._events import Event
from acked.compat.broadcaster._sharing import Shared
from acked.compat.broadcaster._text import TEXT
from acked.compat.broadcaster.backends.base import BroadcastBackend
from acked.errors import ConfigurationError
from acked.types import Codec

__all__ = ("CustomSource", "OnLoss", "Source")

OnLoss: TypeAlias = Literal["reconnect", "raise", "end"]


class Source(BroadcastBackend):
    """A backend that is a face of a layer. `Broadcast` subscribes through its `channel`.

    It can be inherited from to change what `publish` does.
    """

    codec: ClassVar[Codec] = TEXT
    driver: ClassVar[Driver] = Driver()
    publishes_unconnected: ClassVar[bool] = False

    def __init__(self) -> None:
        self._channel: Channel[FireAndForgetLayer] | None = None

    @property
    def channel(self) -> Channel[FireAndForgetLayer]:
        """The channel. Raises `ConfigurationError` unless a `Broadcast` has this backend."""
        if self._channel is None:
            raise ConfigurationError("give this backend to a Broadcast first: Broadcast(backend=b)")
        return self._channel

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:
        """Return the layer: after a lost connection it goes on by itself, or fails who listens."""
        raise NotImplementedError

    def prepare(self, *, reconnects: bool) -> None:
        """Make the channel, not opened yet."""
        self._channel = Channel(self.layer(reconnects=reconnects), codec=self.codec)

    async def connect(self) -> None:
        """Open the channel."""
        with self.driver.translated():
            await self.channel.__aenter__()

    async def disconnect(self) -> None:
        """Close the channel."""
        await self.channel.aclose()

    async def publish(self, channel: str, message: Any) -> None:
        """Publish `message`; see `acked.Channel.publish`."""
        with self.driver.translated():
            await self.channel.publish(channel, message)

    def event(self, message: Message[Any]) -> Event:
        """Return what the subscriber gets for `message`."""
        return Event(message.topic, message.body)


class CustomSource(Source):
    """A backend of the application's own, which `Broadcast` knows only by its methods."""

    codec: ClassVar[Codec] = BY_REFERENCE

    def __init__(self, backend: CustomBackend) -> None:
        super().__init__()
        self._backend = backend

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:  # noqa: ARG002 - how, only it knows
        """Return a layer that reads from the backend."""
        return Shared(CustomLayer(self._backend))

    async def publish(self, channel: str, message: Any) -> None:
        """Publish by the backend."""
        await self._backend.publish(channel, message)

    def event(self, message: Message[Any]) -> Event:
        """Return the very event that the backend made."""
        event: Event = message.body
        return event
