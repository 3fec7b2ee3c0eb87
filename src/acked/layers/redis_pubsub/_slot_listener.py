"""Who listens to what, over one connection that is made again when it is lost.

Rules:

1. A topic or pattern is subscribed to while at least one listener has it. Its first listener asks
   for it, its last one gives it up, both without waiting in between; the server carries them out in
   the order in which they were written, so none of them can undo a later one.
2. A listener is in when each of its topics was confirmed on the present connection.
3. After a loss all topics are asked for in one command, and all patterns, which the server carries
   out in one step: the gap is told with its answer, hence before any message that came after.
4. The server sends a message once for each pattern that matches. A listener takes it by the first
   of its own that does, which the reference matcher says.
5. Nobody waits for a listener: what it has no room for waits in a backlog of its own.
6. After a loss who publishes does not hear of the server's return before who listens: it lets this
   try at once, and waits for that try.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from typing import Final, TypeAlias

from acked._machines.glob import glob
from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.refusals import RefusalBudget
from acked.layers._shared.reconnect import pause
from acked.layers.redis_pubsub._connection import PATTERN, Kind, PubSubConnection
from acked.layers.redis_pubsub._envelope import unpacked
from acked.layers.redis_pubsub._listener import RedisListener
from acked.layers.redis_pubsub._shared_topic import SharedTopic, answer_all
from acked.types import Gap, GapCause

__all__ = ("SlotListener",)

logger: Final = logging.getLogger("acked.layers.redis_pubsub")
STEADY: Final = 3
"""After how many pieces from the server a connection was no mere try: its loss is met at once."""

_RECONNECTED: Final = Gap(None, frozenset({GapCause.RECONNECT}))


_Key: TypeAlias = tuple[bytes, bytes]
"""What a message of a topic or pattern begins with: the first two words of the server."""


def _key(kind: Kind, name: str) -> _Key:
    return kind + b"message", name.encode()


class SlotListener:
    """Connects while anybody listens, and passes each message on to those who want it.

    Made and used within one event loop. `dial` makes a connection or raises `LayerError`;
    `lost` words the loss of one.
    """

    def __init__(
        self,
        dial: Callable[[PubSubConnection], Awaitable[PubSubConnection]],
        lost: Callable[[object], ConnectionLost],
        *,
        heartbeat: float,
        reconnects: bool,
        new_id: Callable[[], str],
    ) -> None:
        self._dial = dial
        self._lost = lost
        self._heartbeat = heartbeat
        self._reconnects = reconnects
        self._new_id = new_id
        self._topics: dict[_Key, SharedTopic] = {}
        self._wire: PubSubConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._unanswered: set[Kind] = set()
        self._now = asyncio.Event()
        """Set by who does not wait for the next try to connect."""
        self._tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a try has failed, or the server has answered for all that is listened to."""

    @property
    def is_deaf(self) -> bool:
        """Whether somebody listens, but not on a connection."""
        return bool(self._topics) and (self._wire is None or bool(self._unanswered))

    async def hear(self, timeout: float) -> None:
        """Try to connect now; return when everybody hears, that has failed, or time is over."""
        self._now.set()
        await asyncio.wait([self._tried], timeout=timeout)

    @property
    def topics(self) -> Iterable[str]:
        """The topics that somebody listens to."""
        return [topic.name for topic in self._topics.values()]

    async def join(
        self, listener: RedisListener, kind: Kind, names: Iterable[str], timeout: float
    ) -> None:
        """Let `listener` hear `names`; return when the server has confirmed all of them."""
        topics = self._joined(listener, kind, dict.fromkeys(names))
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
        answers = [topic.answer() for topic in topics if not topic.is_confirmed]
        if not answers:
            return

        def give_up() -> None:
            answer_all(answers, self._lost(f"no confirmation within {timeout:g} s"))

        alarm = asyncio.get_running_loop().call_later(timeout, give_up)
        try:
            refused = [error for answer in answers if (error := await answer) is not None]
        finally:
            alarm.cancel()
        if refused:
            raise copy(refused[0]) from refused[0]  # several may wait: one each

    def leave(self, listener: RedisListener, kind: Kind, names: Iterable[str]) -> None:
        """Let `listener` hear nothing more."""
        for key in dict.fromkeys(_key(kind, name) for name in names):
            topic = self._topics.get(key)
            if topic is None or listener not in topic.listeners:
                continue  # given up before
            del topic.listeners[listener]
            if not topic.listeners:
                del self._topics[key]
                if self._wire is not None:
                    self._wire.unsubscribe(kind, topic.name.encode())

    async def aclose(self) -> None:
        """End the connection."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    def _joined(
        self, listener: RedisListener, kind: Kind, names: Iterable[str]
    ) -> list[SharedTopic]:
        found: list[SharedTopic] = []
        before: list[Callable[[str], bool]] = []
        for name in names:
            key = _key(kind, name)
            topic = self._topics.get(key)
            if topic is None:
                topic = self._topics[key] = SharedTopic(kind, name)
                self._ask(key, topic)
            topic.listeners[listener] = tuple(before)
            found.append(topic)
            if kind == PATTERN:
                before.append(glob(name))
        return found

    def _ask(self, key: "_Key", topic: SharedTopic) -> None:
        """Subscribe to one topic; who is in already is told of a gap."""

        def answered(error: Exception | None) -> None:
            if error is None:
                topic.settle(None)
                _tell_gap([topic])
            elif self._topics.get(key) is topic:
                self._end([key], LayerError(f"the server refuses {topic.name!r}: {error}"))

        if self._wire is not None:
            self._wire.subscribe(topic.kind, [topic.name.encode()], answered)

    def _ask_all(self, wire: PubSubConnection, kind: Kind) -> None:
        """Subscribe to all topics of a kind in one step of the server's; tell of the gap."""
        topics = {key: topic for key, topic in self._topics.items() if topic.kind == kind}

        def answered(error: Exception | None) -> None:
            self._unanswered.discard(kind)
            if not self._unanswered:
                self._has_tried()
            if error is not None:  # one of them is forbidden: find out which
                for key, topic in topics.items():
                    if self._topics.get(key) is topic:
                        self._ask(key, topic)
                return
            for topic in topics.values():
                topic.settle(None)
            _tell_gap(topics.values())

        wire.subscribe(kind, [topic.name.encode() for topic in topics.values()], answered)

    def _deliver(self, words: Sequence[bytes]) -> None:
        """Pass on what the server said: the kind of message, a pattern's own name, and these."""
        topic = self._topics.get((words[0], words[1]))
        if topic is None:
            return  # its last listener has left; the server does not know it yet
        name = topic.name
        if topic.kind == PATTERN:
            name = words[-2].decode("utf-8", "surrogateescape")
        record = unpacked(name, words[-1], self._new_id)
        for listener, before in topic.listeners.items():
            if not (before and any(matches(name) for matches in before)):
                listener.offer(record)

    async def _run(self) -> None:
        """Keep a connection while anybody listens."""
        failures, refusals = 0, RefusalBudget(logger)
        try:
            while self._topics:
                failures += 1
                self._now.clear()
                try:
                    wire = await self._dial(PubSubConnection(self._deliver))
                except LayerError as error:
                    refusals.note(error)
                    self._refuse_newcomers(error)
                    self._has_tried()
                else:
                    refusals.note(None)
                    lost = self._lost(await self._serve(wire))
                    if not self._reconnects:
                        raise lost
                    logger.warning("%s; reconnecting", lost)
                    if wire.received >= STEADY:
                        failures = 0
                        continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._now.wait(), pause(failures))
        except LayerError as error:
            self._end(list(self._topics), error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; subscribers must know
            self._end(list(self._topics), LayerError(f"listening ended by {error!r}"))

    def _has_tried(self) -> None:
        tried, self._tried = self._tried, asyncio.get_running_loop().create_future()
        tried.set_result(None)

    async def _serve(self, wire: PubSubConnection) -> str:
        """Use `wire` until it is lost; return in words why it was."""
        self._wire = wire
        try:
            self._unanswered = {topic.kind for topic in self._topics.values()}
            for kind in tuple(self._unanswered):
                self._ask_all(wire, kind)
            return await self._watch(wire)
        finally:
            self._wire = None
            for topic in self._topics.values():
                topic.is_confirmed = False
            await wire.aclose()

    async def _watch(self, wire: PubSubConnection) -> str:
        """Return when `wire` is lost, or was silent for a whole heartbeat after a question."""
        while True:
            heard = wire.received
            wire.ping()
            await asyncio.wait([wire.lost], timeout=self._heartbeat)
            if wire.lost.done():
                return str(wire.lost.result() or "the server closed it")
            if wire.received == heard:
                return f"no answer for {self._heartbeat:g} s"

    def _refuse_newcomers(self, error: LayerError) -> None:
        """Let those fail that wait to be in; those who are in wait on."""
        for topic in self._topics.values():
            topic.settle(error)

    def _end(self, keys: Iterable["_Key"], error: LayerError) -> None:
        """Give up topics: newcomers and listeners get `error`."""
        ended: dict[RedisListener, None] = {}
        for key in keys:
            topic = self._topics.pop(key)
            topic.settle(error)
            ended |= dict.fromkeys(topic.listeners)
        for listener in ended:
            listener.fail(error)


def _tell_gap(topics: Iterable[SharedTopic]) -> None:
    """Tell each listener once that is in: to those who are not, nothing can be missing."""
    for listener in {one: None for topic in topics for one in topic.listeners}:
        if listener.is_in:
            listener.gap(_RECONNECTED)
