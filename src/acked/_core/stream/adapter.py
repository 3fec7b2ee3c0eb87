"""An ack-capable layer used as a fire-and-forget one: acknowledged on arrival, for every listener.

Each listener is a group of its own that begins with what is published from now on and is removed
on leaving. So everyone gets everything, overflow policies apply, and what a lost connection
delays still arrives: a broker that keeps messages leaves no gap there.
"""

import logging
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, cast

import anyio

from acked._core.reconnect import ReconnectBudget
from acked._machines.backoff import Backoff
from acked.abc import (
    AckFeed,
    AckLayer,
    FireAndForgetLayer,
    Inspectable,
    RemovesGroups,
    Sink,
)
from acked.clocks import SystemClock
from acked.errors import (
    CapabilityError,
    LayerError,
    NoSubscribers,
    PublishFailed,
    layer_failure,
)
from acked.types import (
    Capabilities,
    Finding,
    Leased,
    Outcome,
    Record,
    Settlement,
    Start,
    Verb,
)

__all__ = ("fire_and_forget",)

logger = logging.getLogger("acked.subscription")

IN_FLIGHT: Final = 256
LEASE: Final = 30.0
"""Seconds; a message is acknowledged as soon as it has arrived."""
MOST_UNSURE: Final = 16 * IN_FLIGHT
RECONNECT: Final = Backoff(initial=0.05, factor=2.0, maximum=5.0)
LEAVING: Final = 5.0
"""Seconds that removing a listener's group may take."""


def fire_and_forget(
    layer: AckLayer,
    *,
    reconnect: Backoff = RECONNECT,
    reconnect_timeout: float | None = 300.0,
) -> FireAndForgetLayer:
    """Return `layer` as a layer of news: the same broker, nothing to settle.

    ```python
    async with Channel(fire_and_forget(RedisStreamsLayer("redis://localhost"))) as channel:
        async with channel.subscribe(PRICES, capacity=256) as prices:
            async for message in prices: ...
    ```

    Every subscription gets everything published from its entering on. Take the wrapper away, name a
    group, and the same topics are debts. After a lost connection it tries again by `reconnect`,
    for `reconnect_timeout` seconds (None: for ever), then the reader gets `ConnectionLost`.

    Raises `CapabilityError` for a layer on which two groups cannot share a topic.
    """
    if not layer.capabilities.groups:
        raise CapabilityError(
            f"{type(layer).__name__} cannot be used as news: it has one group for each topic"
        )
    return _FireAndForgetAdapter(layer, reconnect, reconnect_timeout)


class _FireAndForgetAdapter:
    """What `fire_and_forget` returns."""

    def __init__(self, layer: AckLayer, reconnect: Backoff, timeout: float | None) -> None:
        claims = layer.capabilities
        # What publishing can do; of what a group can, a listener has nothing.
        self.capabilities: Final = Capabilities(
            batch_publish=claims.batch_publish,
            coalesced_publish=claims.coalesced_publish,
            publish_delay=claims.publish_delay,
            publish_confirm=claims.publish_confirm,
            headers=claims.headers,
            keys=claims.keys,
            order=claims.order,
            max_payload=claims.max_payload,
            topic_pattern=claims.topic_pattern,
            lossy=True,
        )
        self._layer = layer
        self._reconnect = reconnect
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"fire_and_forget({self._layer!r})"

    async def __aenter__(self) -> Self:
        await self._layer.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._layer.__aexit__(exc_type, exc, traceback)

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish; returns once the broker has accepted, which is more than news promises.

        That nobody is subscribed is no failure: news are for whoever listens.
        """
        try:
            await self._layer.publish(records)
        except PublishFailed as error:
            if not all(isinstance(why, NoSubscribers) for why in error.failures.values()):
                raise

    def listen(self, topics: Sequence[str], sink: Sink) -> "_GroupListener":
        """Feed everything published to `topics` into `sink`, as a group of its own."""
        patience = ReconnectBudget(self._reconnect, self._timeout, SystemClock())
        return _GroupListener(self._layer, topics, sink, patience)

    async def check(self) -> Sequence[Finding]:
        """Say what the layer beneath says; see `acked.abc.Inspectable`."""
        if not isinstance(self._layer, Inspectable):
            raise CapabilityError(f"{type(self._layer).__name__} has no check()")
        return await self._layer.check()


class _GroupListener:
    """One listener: a consumer of a group that nobody shares with it."""

    def __init__(
        self, layer: AckLayer, topics: Sequence[str], sink: Sink, patience: ReconnectBudget
    ) -> None:
        self._layer = layer
        self._topics = topics
        self._sink = sink
        self._patience = patience
        # Without replay a new group has no past to begin in.
        self._start = Start.LATEST if layer.capabilities.replay else Start.EARLIEST
        self._group = f"acked-news-{uuid.uuid4().hex}"
        self._stack = AsyncExitStack()
        self._unsure: dict[str, None] = {}
        """What the reader has and whose ack nobody answered: it may come again, soon or never."""

    async def __aenter__(self) -> None:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._remove_group)
            feed = await undo.enter_async_context(
                self._layer.consume(
                    self._topics,
                    self._group,
                    in_flight=IN_FLIGHT,
                    lease=LEASE,
                    start=self._start,
                )
            )
            tasks = await undo.enter_async_context(anyio.create_task_group())
            undo.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._run, feed)
            self._stack = undo.pop_all()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not told of the exception: a task group would wrap it in an ExceptionGroup.
        await self._stack.__aexit__(None, None, None)

    async def _run(self, feed: AckFeed) -> None:
        try:
            while True:
                try:
                    batch = await feed.receive(IN_FLIGHT)
                except LayerError as error:
                    await self._patience.wait(error)
                else:
                    self._patience.reset()
                    await self._arrived(feed, batch)
        except Exception as error:  # noqa: BLE001 - a bug in a layer must reach the reader
            self._sink.fail(layer_failure(error, "receiving news"))

    async def _arrived(self, feed: AckFeed, batch: Sequence[Leased]) -> None:
        """Acknowledge, then hand over: a reader under BLOCK may take longer than any lease."""
        outcomes = await feed.settle([Settlement(leased.token, Verb.ACK) for leased in batch])
        for leased, outcome in zip(batch, outcomes, strict=True):
            name = f"{leased.record.topic} {leased.position or leased.record.id}"
            again = name in self._unsure
            if outcome in {Outcome.CONFIRMED, Outcome.SENT}:
                self._unsure.pop(name, None)
            else:
                self._unsure[name] = None
            if not again:
                await self._sink.send(leased.record)
        while len(self._unsure) > MOST_UNSURE:
            del self._unsure[next(iter(self._unsure))]

    async def _remove_group(self) -> None:
        if not self._layer.capabilities.remove_group:
            return
        layer = cast("RemovesGroups", self._layer)
        with anyio.move_on_after(LEAVING, shield=True) as scope:
            try:
                await layer.remove_group(self._topics, self._group)
            except LayerError as error:
                logger.warning("group %s of a listener stays behind: %s", self._group, error)
        if scope.cancelled_caught:
            logger.warning("group %s of a listener stays behind: no answer", self._group)
