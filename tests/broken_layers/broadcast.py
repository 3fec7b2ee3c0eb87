"""Broken broadcasts: messages that are missed without a word, told wrongly, or heard by the wrong."""

# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from acked._machines.glob import glob
from acked.abc import Sink
from acked.layers.memory import _Listener
from acked.types import Gap, GapCause, Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Broadcast

__all__ = ()

ROOM: Final = 32
"""Records in a buffer of the layer's own."""


@broken("test_drop_newest_keeps_the_oldest_and_tells_the_rest")
class DropsWithoutCounting(Broadcast):
    """What does not fit into a buffer before the subscription's own is dropped, and not counted."""

    async def publish(self, records: Sequence[Record]) -> None:
        await super().publish(records[:ROOM])


@broken("test_drop_newest_keeps_the_oldest_and_tells_the_rest")
class CountsDropsTwice(Broadcast):
    """The layer tells of what the subscription has dropped, and counted, already."""

    async def publish(self, records: Sequence[Record]) -> None:
        await super().publish(records)
        if len(records) > ROOM:
            for listener in self._listening(records[0].topic):
                listener.sink.gap(Gap(len(records) - ROOM, frozenset({GapCause.OVERFLOW})))


@broken("test_block_drops_nothing_that_the_layer_can_hold_back")
class DropsWhereItIsToWait(Broadcast):
    """What the subscription has no room for is told as missed, where BLOCK says to wait."""

    async def publish(self, records: Sequence[Record]) -> None:
        await checkpoint()
        for listener, late in self._offer(records).items():
            listener.done(len(late))


@broken("test_whatever_is_published_after_entering_is_heard")
class SubscribedBeforeItIs(Broadcast):
    """Entering does not wait for the broker's yes: the first message goes past."""

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        async def join() -> None:
            for _ in range(3):
                await checkpoint()
            async with right:
                await anyio.sleep_forever()

        right = super().listen(topics, sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(join)
            yield
            tasks.cancel_scope.cancel()


@broken("test_every_subscription_hears_everything_once_and_in_order")
class HearsAMessageForEachTopic(Broadcast):
    """Who listens to several topics hears each message once for each of them."""

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        twice = _Listener(sink)
        for topic in topics[1:]:
            self._listeners.setdefault(topic, {})[twice] = None
        async with super().listen(topics, sink):
            yield
        self._forget(topics[1:], twice)


@broken("test_every_subscription_hears_everything_once_and_in_order")
class OneOfThemHears(Broadcast):
    """Subscriptions of one topic share its messages, as consumers of a group do."""

    async def publish(self, records: Sequence[Record]) -> None:
        for record in records:
            listeners = self._listeners.get(record.topic, {})
            first = next(iter(listeners), None)
            if first is not None:
                listeners[first] = listeners.pop(first)
                self._listeners[record.topic] = {first: None}
                await super().publish([record])
                self._listeners[record.topic] = listeners


@broken("test_concurrent_publishers_are_all_heard")
class LaterMessagesComeFirst(Broadcast):
    """Each publish is a task of its own: the order is the scheduler's."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Sequence[Record]] = []

    async def publish(self, records: Sequence[Record]) -> None:
        self._waiting.append(records)
        if len(self._waiting) == 2:
            while self._waiting:
                await super().publish(self._waiting.pop())


@broken("test_topics_do_not_hear_one_another")
class HearsLongerTopicsToo(Broadcast):
    """A topic is heard by whoever listens to a prefix of its name."""

    async def publish(self, records: Sequence[Record]) -> None:
        await super().publish(records)
        for record in records:
            for topic in [*self._listeners]:
                if topic != record.topic and record.topic.startswith(topic):
                    await super().publish([msgspec.structs.replace(record, topic=topic)])


@broken("test_a_pattern_brings_what_matches_once")
class HearsAMessageForEachPattern(Broadcast):
    """What matches two patterns of a subscription is heard twice."""

    @asynccontextmanager
    async def listen_patterns(self, patterns: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        first, *others = patterns
        several = {_Listener(sink): [glob(pattern)] for pattern in others}
        self._patterns |= several
        async with super().listen_patterns([first], sink):
            yield
        for listener in several:
            del self._patterns[listener]


@broken("test_coming_and_going_makes_nobody_deaf")
class TheFirstToLeaveSilencesTheTopic(Broadcast):
    """Who leaves a topic unsubscribes the connection, and with it who still listens."""

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        try:
            async with super().listen(topics, sink):
                yield
        finally:
            for topic in topics:
                self._listeners.pop(topic, None)


@broken("test_no_message_is_missed_without_a_gap_when_connections_are_cut")
class HidesAReconnect(Broadcast):
    """Connected again, it goes on as if nothing had happened; what was missed is not told."""

    async def cut(self) -> None:
        """Miss what is published for a moment, and do not say so."""
        away, self._listeners = self._listeners, {}
        await anyio.sleep(0.005)
        self._listeners = away


SEVERAL = "test_every_subscription_is_told_of_a_cut_and_hears_again"


@broken(SEVERAL)
class TellsOneOfAReconnect(Broadcast):
    """The first subscription of a connection hears that it broke; the others hear on."""

    async def cut(self) -> None:
        """Tell one of the listeners, of all that missed something."""
        for listeners in self._listeners.values():
            listener = next(iter(listeners))
            listener.sink.gap(Gap(None, frozenset({GapCause.RECONNECT})))


@broken(SEVERAL)
class ForgetsPatternsOnReconnect(Broadcast):
    """Topics are subscribed to again after a reconnect, and patterns are not.

    https://github.com/vantheshark/Burrow.NET/issues/15
    """

    async def cut(self) -> None:
        """Lose what listens by pattern, and tell everybody."""
        await super().cut()
        for globs in self._patterns.values():
            globs.clear()


@broken(SEVERAL)
class HearsTheFirstTopicAgain(Broadcast):
    """After a reconnect the first topic of each subscription is asked for.

    https://github.com/asim/nitro-plugins/issues/84
    """

    async def cut(self) -> None:
        """Let who listens to several topics hear one of them."""
        await super().cut()
        heard = set[object]()
        for listeners in self._listeners.values():
            for listener in list(listeners):
                if listener in heard:
                    del listeners[listener]
                heard.add(listener)
