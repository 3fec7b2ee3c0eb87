"""One connection of a tail that listens, made again when it is lost, and who listens on it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import ConnectionLost, LayerError
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
        self._connection: MQTTConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._turn = asyncio.Lock()

    async def join(self, topic_filter: str, sink: BlockedSink) -> None:
        """Let `sink` hear; return when the broker has confirmed."""
        sinks = self._sinks.setdefault(topic_filter, {})
        sinks[sink] = None
        async with self._turn:
            if self._connection is None:
                await self._connect()
                self._task = asyncio.create_task(self._keep(), name="acked: MQTT's tail")
            elif len(sinks) == 1:
                await self._subscribe([topic_filter])

    def leave(self, topic_filter: str, sink: BlockedSink) -> bool:
        """Let `sink` hear nothing more; return whether anybody does."""
        sinks = self._sinks.get(topic_filter, {})
        sinks.pop(sink, None)
        if not sinks and self._sinks.pop(topic_filter, None) is not None and self._connection:
            # Nobody waits for the answer: what comes before it is for nobody.
            self._connection.client.unsubscribe(topic_filter)
            self._connection.send_rest()
        return bool(self._sinks)

    async def aclose(self) -> None:
        """End the connection, and the session with it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> None:
        """Connect, and subscribe where the broker knows nothing of us."""
        self._broken.clear()
        connection = self._dial(self._session, self._arrived, self._broken.set)
        self._connection = connection
        try:
            await connection.open()
            if not connection.session_present:
                await self._subscribe(list(self._sinks))
        except BaseException:
            self._connection = None
            await connection.close(gently=False)
            raise

    async def _subscribe(self, filters: Sequence[str]) -> None:
        if self._connection is not None:
            always = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            await self._connection.subscribe(filters, retained=always)

    async def _keep(self) -> None:
        """Make the connection again whenever it is lost, or say that it is."""
        while True:
            await self._broken.wait()
            async with self._turn:
                connection, self._connection = self._connection, None
                error, tries = None, 0
                if connection is not None:
                    error = connection.broken
                    await connection.close(gently=False)
                while self._reconnects and isinstance(error, ConnectionLost):
                    tries += 1
                    error = await self._tried_again(tries, error)
            if error is not None:
                self._fail(error)
                return

    async def _tried_again(self, tries: int, error: LayerError) -> LayerError | None:
        """Try to connect; return why that failed, or None: who listens is told of the gap."""
        if tries == 1:
            logger.warning("%s; reconnecting", error)
        await pause_before(tries)
        try:
            await self._connect()
        except LayerError as failure:
            return failure
        if self._connection is not None and not self._connection.session_present:
            for sink in self._all():
                sink.gap(LOST)
        return None

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
