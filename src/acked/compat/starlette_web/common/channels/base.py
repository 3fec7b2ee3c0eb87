"""`Channel`, and what it hands out."""

import copy
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.abc import TaskGroup, TaskStatus

import acked
from acked import ChannelClosed, FireAndForgetSubscription, Overflow
from acked.compat._by_reference import BY_REFERENCE
from acked.compat._losses import Losses
from acked.compat.starlette_web.common.channels._listening import Ended, Listening
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.exceptions import ListenerClosed
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.types import FireAndForgetStatistics

__all__ = ("Channel", "Event", "Subscriber")

logger: logging.Logger = logging.getLogger("acked.compat.starlette_web")

CAPACITY: Final = 65_536
"""How many events may wait for a subscriber that names no number, or an infinite one."""


class Channel:
    """Publishes to groups, and lets any number of subscribers hear them.

    Built anywhere, also outside an event loop. Enter and leave it in one task, again and again, on
    one event loop after another; use it from any task meanwhile. What its block raises comes out
    as it is.
    """

    EXIT_MAX_DELAY: float = 60
    """Seconds that leaving a subscription or the channel may take."""

    def __init__(self, channel_layer: BaseChannelLayer) -> None:
        self._channel_layer = channel_layer
        self._listening = Listening(channel_layer)
        self._channel = acked.Channel(self._listening, codec=BY_REFERENCE)
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._tasks: TaskGroup | None = None
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        state = "open" if self._tasks is not None else "closed"
        return f"<Channel over {type(self._channel_layer).__name__}, {state}>"

    async def __aenter__(self) -> Self:
        """Connect, and listen from now on. Raises what the layer's `connect` raises."""
        if self._tasks is not None:
            raise acked.ConfigurationError("this channel is open; make another one for that")
        await self.connect()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._disconnect)
            await undo.enter_async_context(self._channel)
            tasks = await undo.enter_async_context(anyio.create_task_group())
            undo.callback(self._stop, tasks)
            tasks.start_soon(self._listening.run)
            self._tasks = tasks
            self._stack = undo.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect: `async for` of every subscriber ends."""
        # Not told of the exception: a task group would wrap it in an ExceptionGroup.
        await self._stack.__aexit__(None, None, None)

    async def connect(self) -> None:
        """Connect the layer."""
        await self._channel_layer.connect()

    async def disconnect(self) -> None:
        """Disconnect the layer."""
        await self._channel_layer.disconnect()

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message` by the layer, which takes `kwargs`; never waits for a subscriber."""
        await self._channel_layer.publish(group, message, **kwargs)

    @asynccontextmanager
    async def subscribe(
        self, group: str, max_buffer_size: float = 0, **kwargs: Any
    ) -> AsyncGenerator["Subscriber"]:
        """Subscribe by the layer, which takes `kwargs`; what is published afterwards arrives.

        At most `max_buffer_size` events wait to be read; one more drops the oldest, which is
        counted, logged, and told by the next event's `gap`. 0 and infinity are 65,536.
        """
        self._open_tasks()
        async with self._listening.joined(group, kwargs, self.EXIT_MAX_DELAY) as topic:
            news = self._channel.subscribe(
                acked.Topic(topic, object),
                capacity=_capacity(max_buffer_size),
                overflow=Overflow.DROP_OLDEST,
            )
            async with _held(self._open_tasks(), news):
                subscriber = Subscriber(group, news)
                self._subscribers.setdefault(group, set()).add(subscriber)
                try:
                    yield subscriber
                finally:
                    self._forget(group, subscriber)

    def _open_tasks(self) -> TaskGroup:
        if self._tasks is None:
            raise ChannelClosed("this channel is not open; enter it first: async with channel")
        return self._tasks

    def _stop(self, tasks: TaskGroup) -> None:
        self._tasks = None
        self._subscribers.clear()
        tasks.cancel_scope.cancel()

    async def _disconnect(self) -> None:
        with anyio.fail_after(self.EXIT_MAX_DELAY, shield=True):
            await self.disconnect()

    def _forget(self, group: str, subscriber: "Subscriber") -> None:
        subscriber.closed()
        remaining = self._subscribers.get(group, set())
        remaining.discard(subscriber)
        if not remaining:
            self._subscribers.pop(group, None)


class Subscriber:
    """The events of one group, in order; any task may read, each event goes to one of them."""

    def __init__(self, group: str, news: FireAndForgetSubscription[Any]) -> None:
        self._news = news
        self._losses = Losses(group, news, logger)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Ends when the subscription or the channel was left, or the layer raised `ListenerClosed`;
        raises whatever else the layer's `next_published` raised.
        """
        try:
            message = await anext(self._news)
        except ChannelClosed:
            raise StopAsyncIteration from None
        except Ended as ended:
            if isinstance(ended.cause, ListenerClosed):
                raise StopAsyncIteration from None
            raise ended.cause from None
        self._losses.note(message)
        event: Event = message.body
        if message.gap != event.gap:  # of this subscriber alone
            event = copy.copy(event)
            event.gap = message.gap
        return event

    def statistics(self) -> FireAndForgetStatistics:
        """Return how many events were delivered, missed, and wait to be read."""
        return self._news.statistics()

    def closed(self) -> None:
        """Log what was dropped and never told."""
        self._losses.end()


@asynccontextmanager
async def _held(tasks: TaskGroup, news: FireAndForgetSubscription[Any]) -> AsyncGenerator[None]:
    """Keep `news` entered by a task of its own: any task may leave this, and only one leaves it."""
    leaving, left = anyio.Event(), anyio.Event()

    async def keep(*, task_status: TaskStatus[None]) -> None:
        try:
            async with news:
                task_status.started()
                await leaving.wait()
        finally:
            left.set()

    await tasks.start(keep)
    try:
        yield
    finally:
        leaving.set()
        with anyio.CancelScope(shield=True):
            await left.wait()


def _capacity(max_buffer_size: float) -> int:
    return int(max_buffer_size) if 0 < max_buffer_size < CAPACITY else CAPACITY
