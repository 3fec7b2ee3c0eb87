"""What the user opens over a layer: publishes, subscribes, and keeps the two kinds apart."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, Unpack, cast, overload
from urllib.parse import urlsplit

import anyio
import msgspec

from acked._core.ack.subscription import AckSubscription
from acked._core.notify import Notify
from acked._core.options import AckOptions, AckSettings, FireAndForgetOptions, FireAndForgetSettings
from acked._core.publishing import Encoders, as_topic, decoders, pattern_decoders
from acked._core.stream.subscription import FireAndForgetSubscription
from acked._core.subscription import Subscription
from acked.abc import (
    AckLayer,
    Clock,
    FireAndForgetLayer,
    Inspectable,
    Layer,
    LayerFactory,
    RemovesGroups,
)
from acked.clocks import SystemClock
from acked.codecs import JSON
from acked.errors import CapabilityError, ChannelClosed, ConfigurationError
from acked.types import Codec, Finding, Receipt, Record, Topic

__all__ = ("Channel",)

T = TypeVar("T")
L_co = TypeVar("L_co", bound=Layer, covariant=True)

ENTRY_POINTS: Final = "acked.layers"


class Channel(Generic[L_co]):
    """Publish and subscribe over one layer.

    ```python
    async with Channel(MemoryQueueLayer()) as channel:
        receipt = await channel.publish(ORDERS, Order(1, 999))
        async with channel.subscribe(ORDERS, group="billing") as subscription:
            async for delivery in subscription:
                await delivery.ack()
    ```

    The type of the layer decides what `subscribe` gives: deliveries, which must be settled, over
    an `AckLayer`; messages, which cannot be, over a `FireAndForgetLayer`. A channel can be built
    outside an event loop, opened and closed by different tasks, opened again after it was closed,
    and used by any number of tasks at once. `codec` serves every topic that names none.
    """

    def __init__(
        self,
        layer: L_co,
        *,
        codec: Codec = JSON,
        clock: Clock | None = None,
        close_timeout: float = 10.0,
    ) -> None:
        # Looked at once: on Python 3.11 asking whether it is one costs more than a publish.
        either: Layer = layer
        self._debts: AckLayer | None = either if isinstance(either, AckLayer) else None
        self._news: FireAndForgetLayer | None = (
            either if isinstance(either, FireAndForgetLayer) else None
        )
        if self._debts is None and self._news is None:
            raise ConfigurationError(
                f"{type(layer).__name__} is no layer: it has neither consume() nor listen()"
            )
        self._layer = layer
        self._codec = codec
        self._clock: Clock = clock or SystemClock()
        self._close_timeout = close_timeout
        self._encoders = Encoders(codec, layer.capabilities)
        self._decoders = lru_cache(partial(decoders, codec=codec))  # thousands may share a topic
        self._subscriptions: set[Subscription[Any]] = set()
        self._left = Notify()
        self._is_open = False

    @overload
    @classmethod
    def from_url(
        cls, url: str, *, fire_and_forget: Literal[False] = False, codec: Codec = JSON
    ) -> "Channel[AckLayer]": ...
    @overload
    @classmethod
    def from_url(
        cls, url: str, *, fire_and_forget: Literal[True], codec: Codec = JSON
    ) -> "Channel[FireAndForgetLayer]": ...
    @classmethod
    def from_url(
        cls, url: str, *, fire_and_forget: bool = False, codec: Codec = JSON
    ) -> "Channel[AckLayer] | Channel[FireAndForgetLayer]":
        """Return a channel over the layer that the scheme of `url` names, not yet opened.

        Ack-capable layers by default; `fire_and_forget=True` for the others: which of the two it
        is must show in the type. Third parties register schemes as entry points of the group
        `acked.layers`. Raises `ConfigurationError` for an unknown scheme or option and
        `CapabilityError` for a layer of the other kind.
        """
        layer = layer_from_url(url)
        if fire_and_forget:
            if isinstance(layer, FireAndForgetLayer):
                return Channel(layer, codec=codec)
            raise CapabilityError(
                f"{urlsplit(url).scheme}:// is an ack-capable layer: leave fire_and_forget= out"
            )
        if isinstance(layer, AckLayer):
            return Channel(layer, codec=codec)
        raise CapabilityError(
            f"{urlsplit(url).scheme}:// acknowledges nothing: say fire_and_forget=True, or choose "
            "an ack-capable layer"
        )

    def __repr__(self) -> str:
        state = "open" if self._is_open else "closed"
        return f"<Channel over {self._layer!r}, {state}, {len(self._subscriptions)} subscriptions>"

    @property
    def layer(self) -> L_co:
        """The layer, for what only it can do: see *Native handle* in its documentation."""
        return self._layer

    async def __aenter__(self) -> Self:
        """Open the layer. Raises `ConnectionLost` or `LayerError` if that cannot be done."""
        if self._is_open:
            raise ConfigurationError("this channel is open; make another one to open it twice")
        self._is_open = True
        try:
            await self._layer.__aenter__()
        except BaseException:
            self._is_open = False
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close: subscriptions first, then the layer. A closed channel is left as it is.

        Readers of open subscriptions get `ChannelClosed`; closing waits up to `close_timeout`
        seconds for them to leave.
        """
        if not self._is_open:
            return
        self._is_open = False
        with anyio.move_on_after(self._close_timeout, shield=True):
            for subscription in tuple(self._subscriptions):
                subscription.fail(ChannelClosed("the channel was closed"))
            while self._subscriptions:
                await self._left.wait()
        with anyio.CancelScope(shield=True):
            await self._layer.__aexit__(None, None, None)

    @overload
    async def publish(
        self: "Channel[AckLayer]",
        topic: Topic[T],
        body: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Receipt: ...
    @overload
    async def publish(
        self: "Channel[AckLayer]",
        topic: str,
        body: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Receipt: ...
    @overload
    async def publish(
        self: "Channel[FireAndForgetLayer]",
        topic: Topic[T],
        body: T,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    async def publish(
        self: "Channel[FireAndForgetLayer]",
        topic: str,
        body: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
    async def publish(
        self,
        topic: Topic[Any] | str,
        body: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Receipt | None:
        """Publish one message; on an ack-capable layer return once the broker has accepted it.

        Raises, with nothing sent: `EncodeError`, `MessageTooLarge`, `CapabilityError`,
        `ConfigurationError`, `ChannelClosed`. Raises `PublishFailed` when the broker refused it
        or, `indeterminate`, when we cannot know. Nothing is retried: a second try might be a
        duplicate, and only you know whether that is harmless. Cancelled, the message is whole or
        absent.
        """
        record = self._encoders.record(self._checked(topic), body, key, headers)
        receipts = await self._send([record])
        return receipts[0] if receipts else None

    @overload
    async def publish_many(
        self: "Channel[AckLayer]", topic: Topic[T], bodies: Iterable[T]
    ) -> Sequence[Receipt]: ...
    @overload
    async def publish_many(
        self: "Channel[AckLayer]", topic: str, bodies: Iterable[object]
    ) -> Sequence[Receipt]: ...
    @overload
    async def publish_many(
        self: "Channel[FireAndForgetLayer]", topic: Topic[T], bodies: Iterable[T]
    ) -> None: ...
    @overload
    async def publish_many(
        self: "Channel[FireAndForgetLayer]", topic: str, bodies: Iterable[object]
    ) -> None: ...
    async def publish_many(
        self, topic: Topic[Any] | str, bodies: Iterable[Any]
    ) -> Sequence[Receipt] | None:
        """Publish several messages in one request where the layer can, in their order.

        Returns one receipt for each, in the same order, on an ack-capable layer. If one of them
        cannot be encoded, none is sent. `PublishFailed.failures` says which were not accepted.
        """
        checked = self._checked(topic)
        return await self._send(self._encoders.records(checked, bodies))

    @overload
    def subscribe(
        self: "Channel[AckLayer]", *topics: Topic[T], **options: Unpack[AckOptions]
    ) -> AckSubscription[T]: ...
    @overload
    def subscribe(
        self: "Channel[AckLayer]", *topics: str, **options: Unpack[AckOptions]
    ) -> AckSubscription[object]: ...
    @overload
    def subscribe(
        self: "Channel[FireAndForgetLayer]",
        *topics: Topic[T],
        **options: Unpack[FireAndForgetOptions],
    ) -> FireAndForgetSubscription[T]: ...
    @overload
    def subscribe(
        self: "Channel[FireAndForgetLayer]", *topics: str, **options: Unpack[FireAndForgetOptions]
    ) -> FireAndForgetSubscription[object]: ...
    def subscribe(
        self, *topics: Topic[Any] | str, **options: Any
    ) -> AckSubscription[Any] | FireAndForgetSubscription[Any]:
        """Return a subscription to `topics`; nothing happens before it is entered.

        Over an ack-capable layer: an iterator of `Delivery`, one consumer of `group`, with the
        options of `AckOptions`. Over a fire-and-forget layer: an iterator of `Message`, with
        the options of `FireAndForgetOptions`. Raises `CapabilityError` for an option of the other
        kind or one that the layer cannot do, `ConfigurationError` for a value that cannot be.
        """
        if not topics:
            raise ConfigurationError("subscribe to what? name at least one topic")
        if self._debts is not None:
            return self._subscribe_debts(self._debts, topics, options)
        return self._subscribe_news(cast("FireAndForgetLayer", self._news), topics, options)

    def _subscribe_debts(
        self, layer: AckLayer, topics: Sequence[Topic[Any] | str], given: dict[str, Any]
    ) -> AckSubscription[Any]:
        options = _options(AckSettings, "an ack-capable", given)
        options.check(layer.capabilities)
        decoding = self._decoders(tuple(self._checked(topic) for topic in topics))
        return AckSubscription(layer, decoding, options, self._clock, self._opened, self._closed)

    def _subscribe_news(
        self, layer: FireAndForgetLayer, topics: Sequence[Topic[Any] | str], given: dict[str, Any]
    ) -> FireAndForgetSubscription[Any]:
        options = _options(FireAndForgetSettings, "a fire-and-forget", given)
        options.check(layer.capabilities)
        # A pattern need not be a legal topic name, only a possible one.
        by_pattern = options.patterns
        checked = tuple(as_topic(one) if by_pattern else self._checked(one) for one in topics)
        decoding = pattern_decoders(checked, self._codec) if by_pattern else self._decoders(checked)
        names = tuple(topic.name for topic in checked)
        return FireAndForgetSubscription(
            layer, names, decoding, options, self._opened, self._closed
        )

    async def check(self) -> Sequence[Finding]:
        """Ask the server what matters for safety there, as data with a plain message.

        ```python
        for finding in await channel.check():
            if finding.severity is Severity.WARNING:
                logger.warning("%s: %s", finding.name, finding.message)
        ```

        Raises `CapabilityError` where the layer cannot say, `ConnectionLost` when nobody answers.
        """
        self._require_open()
        layer: Layer = self._layer
        if not isinstance(layer, Inspectable):
            raise CapabilityError(
                f"{type(layer).__name__} has no check(): see its documentation for what to look at"
            )
        return await layer.check()

    async def remove_group(
        self: "Channel[AckLayer]", *topics: Topic[Any] | str, group: str
    ) -> None:
        """Forget `group` of `topics`, and all that is owed to it: it will not consume any more.

        Close its consumers first. A group that does not exist is left so. Raises `CapabilityError`
        where the layer cannot, `LayerError` where the broker still sees a consumer of it.
        """
        self._require_open()
        if not self._layer.capabilities.remove_group:
            raise CapabilityError(f"{self._layer!r} cannot remove a group")
        await cast("RemovesGroups", self._layer).remove_group(
            [self._checked(topic).name for topic in topics], group
        )

    def _require_open(self) -> None:
        if not self._is_open:
            raise ChannelClosed("open the channel first: async with channel: ...")

    def _opened(self, subscription: Subscription[Any]) -> None:
        self._require_open()
        self._subscriptions.add(subscription)

    def _closed(self, subscription: Subscription[Any]) -> None:
        self._subscriptions.discard(subscription)
        self._left.set()

    def _checked(self, topic: Topic[Any] | str) -> Topic[Any]:
        found = as_topic(topic)
        self._encoders.check_topic(found.name)
        return found

    async def _send(self, records: Sequence[Record]) -> Sequence[Receipt] | None:
        self._require_open()
        if self._debts is not None:
            return await self._debts.publish(records)
        await cast("FireAndForgetLayer", self._news).publish(records)
        return None


Options = TypeVar("Options", AckSettings, FireAndForgetSettings)


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _options(kind: type[Options], article: str, options: dict[str, Any]) -> Options:
    known = _fields(kind)
    strange = sorted(options.keys() - known.keys())
    if strange:
        raise CapabilityError(
            f"{article} layer has no option {strange[0]}=; it has {', '.join(known)}"
        )
    missing = [name for name, field in known.items() if field.required and name not in options]
    if missing:
        raise ConfigurationError(f"{article} layer needs {missing[0]}=")
    return kind(**options)


def layer_from_url(url: str) -> Layer:
    """Return the layer whose entry point is called like the scheme of `url`."""
    scheme = urlsplit(url).scheme
    found = entry_points(group=ENTRY_POINTS)
    if not scheme or scheme not in found.names:
        raise ConfigurationError(
            f"no layer is called {scheme!r}; installed: {', '.join(sorted(found.names))}"
        )
    point = found[scheme]
    try:
        factory = cast("LayerFactory", point.load())
    except ImportError as error:
        package = point.dist.name if point.dist is not None else "acked"
        raise ConfigurationError(
            f"{scheme}:// needs a package that is not installed ({error.name}); "
            f"pip install '{package}[{','.join(point.extras)}]'"
        ) from error
    return factory.from_url(url)
