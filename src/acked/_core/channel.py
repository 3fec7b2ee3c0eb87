"""What the user opens over a layer: publishes, subscribes, and keeps the two kinds apart.

Longer than 300 lines: half are docstrings, and overloads by which type checkers keep the two
kinds apart.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, cast, overload

import anyio

from acked._core.ack.dead_letter_topic import DeadLetterTopic
from acked._core.ack.delivery import Delivery
from acked._core.ack.subscription import AckSubscription
from acked._core.layer_life import LayerLife, life_of
from acked._core.notify import Notify
from acked._core.observer import Observer
from acked._core.options import (
    AckOptions,
    FireAndForgetOptions,
    checked_seconds,
)
from acked._core.publish_options import PublishOptions
from acked._core.publisher import Publisher
from acked._core.publishing import Encoders
from acked._core.stream.subscription import FireAndForgetSubscription
from acked._core.subscribing import SubscriptionMaker
from acked._core.subscription import Subscription
from acked._core.transactions import transactional_layer
from acked._core.urls import ack_layer_from_url, kinds_of, stream_layer_from_url
from acked._core.worker.answers import Answer, BatchAnswer, Publish, options_of
from acked._core.worker.making import worker
from acked._core.worker.options import BatchOptions, ProcessOptions
from acked.abc import (
    AckLayer,
    BrowsableLayer,
    Clock,
    FireAndForgetLayer,
    Inspectable,
    Layer,
    RemovesGroups,
)
from acked.clocks import SystemClock
from acked.codecs import JSON
from acked.errors import (
    CapabilityError,
    ChannelClosed,
    ConfigurationError,
    LayerError,
    hiding_arguments,
)
from acked.types import Codec, Finding, Receipt, Record, Topic

__all__ = ("Channel",)

T = TypeVar("T")
U = TypeVar("U")
L_co = TypeVar("L_co", bound=Layer, covariant=True)


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

    What `publish` accepts, a subscriber gets, equal: with `verify_bodies` each encoded body is
    decoded again and compared, and what would arrive as something else, or as nothing, is an
    `EncodeError`. Measured on the memory layers, that is 2 to 5 % of a publish for a number and
    20 to 30 % for a struct with five others in it (1 µs); with a broker it does not show.
    """

    def __init__(
        self,
        layer: L_co,
        *,
        codec: Codec = JSON,
        clock: Clock | None = None,
        close_timeout: float = 10.0,
        observer: Observer | None = None,
        verify_bodies: bool = True,
    ) -> None:
        self._ack_layer, self._stream_layer = kinds_of(layer)
        self._layer = layer
        self._close_timeout = checked_seconds("close_timeout", close_timeout, above=0.0)
        self._observer = observer
        publishes = self._ack_layer or cast("FireAndForgetLayer", self._stream_layer)
        coalesces = layer.capabilities.coalesced_publish
        self._publisher = Publisher(publishes.publish) if coalesces else None
        self._publish = self._publisher.send if self._publisher else publishes.publish
        self._encoders = Encoders(codec, layer.capabilities, verify=verify_bodies)
        self._subscriptions: set[Subscription[Any]] = set()
        self._subscribing = SubscriptionMaker(
            self._encoders, codec, clock or SystemClock(), observer, self._opened, self._closed
        )
        self._is_open = False
        self._life: LayerLife  # while it is open, as the next
        self._left: Notify

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        fire_and_forget: Literal[False] = False,
        codec: Codec = JSON,
        observer: Observer | None = None,
    ) -> "Channel[AckLayer]": ...
    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        fire_and_forget: Literal[True],
        codec: Codec = JSON,
        observer: Observer | None = None,
    ) -> "Channel[FireAndForgetLayer]": ...
    @classmethod
    @hiding_arguments
    def from_url(
        cls,
        url: str,
        *,
        fire_and_forget: bool = False,
        codec: Codec = JSON,
        observer: Observer | None = None,
    ) -> "Channel[AckLayer] | Channel[FireAndForgetLayer]":
        """Return a channel over the layer that the scheme of `url` names, not yet opened.

        Ack-capable layers by default; `fire_and_forget=True` for the others: which of the two it
        is must show in the type. Third parties register schemes as entry points of the group
        `acked.layers`. Raises `ConfigurationError` for an unknown scheme or option and
        `CapabilityError` for a layer of the other kind.
        """
        if fire_and_forget:
            return Channel(stream_layer_from_url(url), codec=codec, observer=observer)
        return Channel(ack_layer_from_url(url), codec=codec, observer=observer)

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
        self._left = Notify()
        self._life = life_of(self._layer)
        try:
            await self._life.enter()
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

        Nothing more is handed out: what nobody has seen is given back at once, and readers get
        `ChannelClosed` at their next read. What is in hand may be settled until `close_timeout`
        seconds are over; then it is given back, and settled no more.
        """
        if not self._is_open:
            return
        self._is_open = False
        with anyio.move_on_after(self._close_timeout, shield=True):
            async with anyio.create_task_group() as tasks:
                for subscription in tuple(self._subscriptions):
                    subscription.shut(ChannelClosed("the channel was closed"))
                    tasks.start_soon(subscription.stop_receiving)
            while self._subscriptions:
                await self._left.wait()
        with anyio.move_on_after(self._close_timeout, shield=True):
            for subscription in tuple(self._subscriptions):
                await subscription.abandon()
        with anyio.CancelScope(shield=True):
            if self._publisher is not None:
                await self._publisher.aclose()
            await self._life.leave()
        del self._life

    @overload
    async def publish(
        self: "Channel[AckLayer]", topic: Topic[T], body: T, **options: Unpack[PublishOptions]
    ) -> Receipt: ...
    @overload
    async def publish(
        self: "Channel[AckLayer]", topic: str, body: object, **options: Unpack[PublishOptions]
    ) -> Receipt: ...
    @overload
    async def publish(
        self: "Channel[FireAndForgetLayer]",
        topic: Topic[T],
        body: T,
        **options: Unpack[PublishOptions],
    ) -> None: ...
    @overload
    async def publish(
        self: "Channel[FireAndForgetLayer]",
        topic: str,
        body: object,
        **options: Unpack[PublishOptions],
    ) -> None: ...
    async def publish(
        self, topic: Topic[Any] | str, body: object, **options: Unpack[PublishOptions]
    ) -> Receipt | None:
        """Publish one message; on an ack-capable layer return once the broker has accepted it.

        The options are those of `PublishOptions`. Raises, with nothing sent: `EncodeError`,
        `MessageTooLarge`, `CapabilityError`, `ConfigurationError`, `ChannelClosed`. Raises
        `PublishFailed` when the broker refused it or, `indeterminate`, when we cannot know.
        Nothing is retried: a second try might be a duplicate, and only you know whether that is
        harmless; `id=` gives it the identity of the first. Cancelled, the message is whole or
        absent. With `connection=` it is published in your transaction, where the layer is in a
        database (`postgres-queue`, `postgres-notify`): accepted when that commits.
        """
        record = self._encoders.record(topic, body, options)
        receipts = await self._send([record], options.get("connection") if options else None)
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
    @overload
    async def publish_many(
        self: "Channel[AckLayer]", messages: Iterable[Publish[Any]], /
    ) -> Sequence[Receipt]: ...
    @overload
    async def publish_many(
        self: "Channel[FireAndForgetLayer]", messages: Iterable[Publish[Any]], /
    ) -> None: ...
    async def publish_many(
        self, topic: Any, bodies: Iterable[Any] | None = None
    ) -> Sequence[Receipt] | None:
        """Publish several messages in one request where the layer can, in their order.

        Bodies of one topic, or `Publish(topic, body, key=..., headers=..., id=...)` for each, which
        may be of several topics. Returns one receipt for each, in the same order, on an ack-capable
        layer. If one of them cannot be encoded, none is sent. `PublishFailed.failures` says which
        were not accepted.
        """
        encoders = self._encoders
        if bodies is not None:
            return await self._send(encoders.records(topic, bodies))
        messages = [*_messages(topic)]
        return await self._send(
            [encoders.record(one.topic, one.body, options_of(one)) for one in messages]
        )

    @overload
    def subscribe(
        self: "Channel[AckLayer]", *topics: Topic[T], **options: Unpack[AckOptions]
    ) -> AckSubscription[T]: ...
    @overload
    def subscribe(
        self: "Channel[AckLayer]",
        first: Topic[T],
        second: Topic[U],
        /,
        **options: Unpack[AckOptions],
    ) -> AckSubscription[T | U]: ...
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
        self: "Channel[FireAndForgetLayer]",
        first: Topic[T],
        second: Topic[U],
        /,
        **options: Unpack[FireAndForgetOptions],
    ) -> FireAndForgetSubscription[T | U]: ...
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
        if self._ack_layer is not None:
            return self._subscribing.acks(self._ack_layer, topics, options)
        stream_layer = cast("FireAndForgetLayer", self._stream_layer)
        return self._subscribing.stream(stream_layer, topics, options)

    @overload
    async def process(
        self: "Channel[AckLayer]",
        topic: Topic[T],
        handler: Callable[[Delivery[T]], Answer] | Callable[[T], Answer],
        **options: Unpack[ProcessOptions],
    ) -> None: ...
    @overload
    async def process(
        self: "Channel[AckLayer]",
        topic: Topic[T],
        handler: Callable[[list[Delivery[T]]], BatchAnswer] | Callable[[list[T]], BatchAnswer],
        **options: Unpack[BatchOptions],
    ) -> None: ...
    async def process(
        self: "Channel[AckLayer]",
        topic: Topic[Any] | str,
        handler: Callable[[Any], object],
        **options: Any,
    ) -> None:
        """Handle what comes of `topic`, until cancelled: a consumer of `group` that is supervised.

        The handler is an `async def`, or a plain function, which runs in a thread. It is given the
        delivery if the annotation of its first parameter says `Delivery`, else the body; with
        `batch=` a list of them. It returns None or what to `Publish` before the message is acked;
        it raises `Retry`, `Reject` or `Release`. Whatever else it raises is logged, and the message
        nacked with a backoff, until `redelivery` says that it is a dead letter: no handler ends
        the worker. A list is settled as a whole, or by an answer for each member.

        Cancelled, it drains: nothing is fetched, what no handler has begun is given back at once,
        handlers may go on for `drain` seconds; then they are cancelled, and what they were at is
        given back uncharged. Options: `ProcessOptions`, with those of `subscribe`. Raises what ends
        a subscription, `CapabilityError` and `ConfigurationError` as `subscribe` does.
        """
        await worker(self, topic, handler, options).run()

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
        self: "Channel[AckLayer]", *topics: Topic[Any] | str, group: str, patterns: bool = False
    ) -> None:
        """Forget `group` of `topics`, and all that is owed to it: it will not consume any more.

        They are named as they were for `subscribe`, `patterns` too. Close its consumers first. A
        group that does not exist is left so. Raises `CapabilityError` where the layer cannot,
        `LayerError` where the broker still sees a consumer of it.
        """
        self._require_open()
        if not self._layer.capabilities.remove_group:
            raise CapabilityError(f"{self._layer!r} cannot remove a group")
        await cast("RemovesGroups", self._layer).remove_group(
            [topic.name for topic in self._subscribing.named(topics, by_pattern=patterns)], group
        )

    def dead_letters(self: "Channel[AckLayer]", topic: Topic[Any] | str) -> DeadLetterTopic:
        """Return the dead letters in `topic`, to be counted, listed, replayed, purged.

        Raises `CapabilityError` where the layer cannot show what a topic keeps.
        """
        if not self._layer.capabilities.browse:
            raise CapabilityError(
                f"{self._layer!r} cannot show what a topic keeps without taking it; consume "
                "the dead letters as a group, publish each where it came from, and ack it"
            )
        name = self._encoders.checked(topic).name
        return DeadLetterTopic(name, self._browsable, self._send, self._encoders.checked)

    def _browsable(self) -> BrowsableLayer:
        self._require_open()
        return cast("BrowsableLayer", self._layer)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ChannelClosed("open the channel first: async with channel: ...")
        self._life.home.check()

    def _opened(self, subscription: Subscription[Any]) -> None:
        self._require_open()
        self._subscriptions.add(subscription)

    def _closed(self, subscription: Subscription[Any]) -> None:
        self._subscriptions.discard(subscription)
        self._left.set()

    def _send(
        self, records: Sequence[Record], connection: object = None
    ) -> Awaitable[Sequence[Receipt] | None]:
        self._require_open()
        if connection is not None:
            sent = transactional_layer(self._layer).publish_in(connection, records)
        else:
            sent = self._publish(records)
        return sent if self._observer is None else _told(self._observer, records, sent)


async def _told(
    observer: Observer, records: Sequence[Record], sent: Awaitable[Sequence[Receipt] | None]
) -> Sequence[Receipt] | None:
    try:
        receipts = await sent
    except LayerError as error:
        observer.publish_failed(records, error)
        raise
    observer.published(records, receipts)
    return receipts


def _messages(given: object) -> Iterable[Publish[Any]]:
    wrong = "publish_many takes a topic and its bodies, or several Publish(...), not a"
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{wrong} {type(given).__name__} alone")
    for message in cast("Iterable[object]", given):
        if not isinstance(message, Publish):
            raise ConfigurationError(f"{wrong} {type(message).__name__} among them")
        yield cast("Publish[Any]", message)  # type: ignore[redundant-cast]  # for pyright
