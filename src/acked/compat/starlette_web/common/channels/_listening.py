"""A channel layer of the application as a layer of `acked`."""

import itertools
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio

from acked.abc import Sink
from acked.compat.starlette_web.common.channels._inbox import owning
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.errors import LayerError
from acked.types import Capabilities, Record

__all__ = ("Ended", "Listening")

logger = logging.getLogger("acked.compat.starlette_web")


class Ended(LayerError):
    """Nothing comes any more, for `cause` was raised by `next_published`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"next_published() raised {type(cause).__name__}")
        self.cause: Final = cause


class Listening:
    """Hands what `next_published` returns to the subscribers of its group.

    Rules:

    1. The first subscriber of a group subscribes the layer to it, the last one to leave ends it.
       Both take turns for each group, so that neither can undo the other.
    2. An event belongs to the group whose subscribing registered it, else to the group it names.
    3. Once `next_published` raised, that ends everybody, and who subscribes afterwards.
    """

    def __init__(self, channel_layer: BaseChannelLayer) -> None:
        self.capabilities: Final = Capabilities(lossy=True)
        self._channel_layer = channel_layer
        self._groups: dict[str, _Group] = {}
        self._by_topic: dict[str, _Group] = {}
        self._numbers = itertools.count(1)
        self._ended: Ended | None = None

    def __repr__(self) -> str:
        return f"Listening({self._channel_layer!r})"

    async def __aenter__(self) -> Self:
        """Begin; `Channel` connects the layer itself, so that errors come out as they are."""
        self._ended = None
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End: subscriptions end with the connection, nobody needs to undo them afterwards."""
        for group in self._groups.values():
            group.is_subscribed = False
        self._groups.clear()
        self._by_topic.clear()

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish by the layer, one after the other."""
        for record in records:
            await self._channel_layer.publish(record.topic, cast("object", record.body))

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed the events of the group whose topic this is into `sink`."""
        (group,) = (self._by_topic[topic] for topic in topics)
        group.sinks[sink] = None
        if self._ended is not None:
            sink.fail(self._ended)
        try:
            yield
        finally:
            del group.sinks[sink]

    @asynccontextmanager
    async def joined(
        self, group: str, options: Mapping[str, Any], patience: float
    ) -> AsyncGenerator[str]:
        """Have the layer subscribed to `group`, and yield the topic to subscribe to.

        Leaving takes up to `patience` seconds.
        """
        found = self._group(group)
        found.users += 1
        try:
            async with found.turn:
                if not found.is_subscribed:
                    with owning(group):
                        await self._channel_layer.subscribe(group, **options)
                    found.is_subscribed = True
            yield found.topic
        finally:
            with anyio.move_on_after(patience, shield=True) as scope:
                await self._leave(group, found, options)
            if scope.cancelled_caught:
                logger.warning("leaving %r took more than %g s: given up", group, patience)

    def _group(self, name: str) -> "_Group":
        """Return the group called so; a topic of ours need not be a legal name of a topic."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = _Group(f"group-{next(self._numbers)}")
            self._by_topic[found.topic] = found
        return found

    async def _leave(self, group: str, found: "_Group", options: Mapping[str, Any]) -> None:
        async with found.turn:
            found.users -= 1
            if not found.users and found.is_subscribed:
                found.is_subscribed = False
                try:
                    with owning(group):
                        await self._channel_layer.unsubscribe(group, **options)
                except Exception as error:  # noqa: BLE001 - must not hide what the body raised
                    logger.warning("leaving %r: %s: %s", group, type(error).__name__, error)
            # Race: somebody may have come meanwhile, and waits for the turn.
            if not found.users and self._groups.get(group) is found:
                del self._groups[group], self._by_topic[found.topic]

    async def run(self) -> None:
        """Hand out events until `next_published` raises."""
        try:
            while True:
                self._hand_out(await self._channel_layer.next_published())
        except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
            self._ended = Ended(error)
            for group in self._groups.values():
                for sink in group.sinks:
                    sink.fail(self._ended)

    def _hand_out(self, event: Event) -> None:
        group = self._groups.get(event.group if event.owner is None else event.owner)
        if group is None:
            return
        for sink in group.sinks:
            if event.gap is not None:
                sink.gap(event.gap)
            sink.offer(Record(group.topic, cast("bytes", event), id=""))


class _Group:
    """A group that somebody subscribes to, or is about to."""

    def __init__(self, topic: str) -> None:
        self.topic: Final = topic
        self.turn: Final = anyio.Lock()
        self.users = 0
        self.is_subscribed = False
        self.sinks: dict[Sink, None] = {}
