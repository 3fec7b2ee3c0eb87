"""One connection of a tail that listens, made again when it is lost, and who listens on it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, cast

import anyio
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import LayerError
from acked.layers._shared.blocked_sink import BlockedSink
from acked.layers._shared.reconnect import pause_before
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._filters import has_wildcards
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._records import record_of
from acked.layers.mqtt._session import Session
from acked.types import Gap, GapCause

__all__ = ("ListeningLine",)

logger = logging.getLogger("acked.layers.mqtt")

LOST: Final = Gap(None, frozenset({GapCause.RECONNECT}))

Dial: TypeAlias = Callable[[Session, Callable[[Arrival], None], Callable[[], None]], MQTTConnection]


class ListeningLine:
    """Whoever listens to topics, or to one filter, and their connection while there is one."""

    def __init__(self, dial: Dial, session: Session, *, reconnects: bool) -> None:
        self.has_failed = False
        self._dial = dial
        self._session = session
        self._reconnects = reconnects
        self._sinks: dict[str, dict[BlockedSink, None]] = {}
        self._granted: dict[str, None] = {}
        """What the broker has confirmed, if not on this connection then in its session."""
        self._connection: MQTTConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._turn = asyncio.Lock()

    async def join(self, topic_filter: str, sink: BlockedSink) -> None:
        """Let `sink` hear; return when the broker has confirmed, or `sink` was told why not."""
        self._sinks.setdefault(topic_filter, {})[sink] = None
        async with self._turn:
            if self.has_failed:
                return
            connection = self._connection
            if connection is None:
                connection = await self._connected()
                self._task = asyncio.create_task(self._keep(connection), name="acked: MQTT's tail")
            # Not for who is the first: others may wait for their turn behind him.
            if topic_filter not in self._granted:
                await _subscribe(connection, [topic_filter])
                self._granted[topic_filter] = None

    def leave(self, topic_filter: str, sink: BlockedSink) -> bool:
        """Let `sink` hear nothing more; return whether anybody does."""
        sinks = self._sinks.get(topic_filter, {})
        sinks.pop(sink, None)
        if not sinks and self._sinks.pop(topic_filter, None) is not None:
            self._granted.pop(topic_filter, None)
            if self._connection is not None:
                # Nobody waits for the answer: what comes before it is for nobody.
                self._connection.client.unsubscribe(topic_filter)
                self._connection.send_rest()
        return bool(self._sinks)

    async def aclose(self) -> None:
        """End the connection, and the session with it, also for who was cancelled."""
        with anyio.CancelScope(shield=True):
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
            if self._connection is not None:
                await self._connection.close()

    async def _connected(self) -> MQTTConnection:
        """Connect, and subscribe to what was granted where the broker knows nothing of us."""
        self._broken.clear()
        connection = self._dial(self._session, self._arrived, self._broken.set)
        self._connection = connection
        try:
            await connection.open()
            if self._granted and not connection.session_present:
                await _subscribe(connection, list(self._granted))
        except BaseException:
            self._connection = None
            await connection.close(gently=False)
            raise
        return connection

    async def _keep(self, connection: MQTTConnection) -> None:
        """Make the connection again whenever it is lost, or say that it is."""
        try:
            while True:
                await self._broken.wait()
                async with self._turn:
                    self._connection = None
                    await connection.close(gently=False)
                    connection = await self._connected_again(cast("LayerError", connection.broken))
        except LayerError as error:
            self._fail(error)

    async def _connected_again(self, error: LayerError) -> MQTTConnection:
        """Connect after the loss `error`, however often that fails; raise what does not pass."""
        tries = 0
        while self._reconnects and error.may_pass:
            tries += 1
            if tries == 1:
                logger.warning("%s; reconnecting", error)
            await pause_before(tries)
            try:
                connection = await self._connected()
            except LayerError as failure:
                error = failure
                continue
            if not connection.session_present:
                for sink in self._all():
                    sink.gap(LOST)
            return connection
        raise error

    def _fail(self, error: LayerError) -> None:
        self.has_failed = True
        sinks = self._all()
        self._sinks = {}
        for sink in sinks:
            sink.fail(error)

    def _all(self) -> list[BlockedSink]:
        return list({sink: None for some in self._sinks.values() for sink in some})

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.qos and self._connection is not None:
            self._connection.acknowledge([arrival.mid])
        sinks = self._sinks.get(arrival.topic)
        if sinks is None and len(self._sinks) == 1:
            ((only, sinks),) = self._sinks.items()  # a filter's own connection
            sinks = sinks if has_wildcards(only) else None
        if sinks:
            record, _ = record_of(arrival)
            for sink in tuple(sinks):
                sink.offer(record)


async def _subscribe(connection: MQTTConnection, filters: Sequence[str]) -> None:
    await connection.subscribe(filters, retained=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)
