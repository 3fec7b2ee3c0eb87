"""What is published from now on, for whoever listens: acknowledged as it comes, by MQTT 5 or 3.1.1.

All topics are heard on one connection, each filter with wildcards on one of its own: so filters
that overlap never share one, where a broker may send a message once, or once for each.

With MQTT 5 a connection has a session, which the broker keeps while it is made again: nothing is
missed meanwhile but what was published with QoS 0. With 3.1.1 it has none, and what was published
meanwhile is a gap.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Final, Self

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client

from acked.abc import Sink
from acked.errors import (
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    PublishFailed,
    hiding_arguments,
)
from acked.layers._shared.blocked_sink import BlockedSink
from acked.layers._shared.reconnect import OnLoss, reconnects
from acked.layers._shared.runtime import require_asyncio
from acked.layers.mqtt._address import address_of, tls_of
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._filters import checked_filter, has_wildcards
from acked.layers.mqtt._identity import ClientIds
from acked.layers.mqtt._line import ListeningLine
from acked.layers.mqtt._options import CAPABILITIES, check_numbers
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._publisher import MQTTPublisher, publish_failed
from acked.layers.mqtt._session import Session
from acked.types import Capabilities, Record

__all__ = ("MQTTTail",)

VERSIONS: Final = (4, 5)
"""As CONNECT has them: 4 is MQTT 3.1.1."""
KEPT: Final = 600
"""Seconds for which the broker keeps what is for a connection that was lost."""


class MQTTTail:
    """A fire-and-forget layer over MQTT 5, or 3.1.1, which carries a body and nothing beside it.

    `version` is 5, or 4 for 3.1.1. `on_loss` says what a lost connection is: it is made again
    ("reconnect"), or whoever listens gets `ConnectionLost` ("raise"). The other arguments are those
    of `MQTTLayer`. Whoever is the first to listen to a topic or filter begins with what is retained
    of it; one task may enter `listen`, another leave it.
    """

    @hiding_arguments
    def __init__(
        self,
        url: str = "mqtt://localhost:1883",
        *,
        version: int = 5,
        client_id: str | None = None,
        keepalive: int = 15,
        timeout: float = 10.0,
        on_loss: OnLoss = "reconnect",
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        self._address: Final = address_of(url)
        check_numbers(KEPT, keepalive, timeout)
        if version not in VERSIONS:
            raise ConfigurationError(f"version={version}: say 5, or 4 for MQTT 3.1.1")
        self.capabilities: Final = Capabilities(
            publish_confirm=True,
            headers=version == 5,
            keys=version == 5,
            patterns=True,
            lossy=True,
            order="total",
            max_payload=CAPABILITIES.max_payload,
            topic_pattern=CAPABILITIES.topic_pattern,
        )
        self._version = version
        self._client_ids = ClientIds(client_id, is_shared=False)
        self._timeout = timeout
        self._reconnects = reconnects(on_loss)
        tls = tls_of(self._address, ca_certs, certfile, keyfile)
        self._connection: Final = partial(
            MQTTConnection, self._address, tls=tls, keepalive=keepalive, timeout=timeout
        )
        self._publisher: MQTTPublisher | None = None
        self._lines: dict[str, ListeningLine] = {}
        """The connections that listen, by filter; that of all topics is at ''."""

    def __repr__(self) -> str:
        state = "closed" if self._publisher is None else "open"
        return f"<MQTTTail {self._address.scheme}://{self._address.where}, {state}>"

    async def __aenter__(self) -> Self:
        """Connect for publishing; listening connects when somebody listens."""
        require_asyncio("acked's MQTTTail")

        def connect(
            on_puback: Callable[[int, int, bytes], bool], on_broken: Callable[[], None]
        ) -> MQTTConnection:
            session = self._session("publisher", 0)
            return self._connection(session, on_puback=on_puback, on_broken=on_broken)

        publisher = MQTTPublisher(connect, timeout=self._timeout)
        await publisher.open()
        self._publisher = publisher
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        publisher, self._publisher = self._publisher, None
        while self._lines:
            await self._lines.popitem()[1].aclose()
        if publisher is not None:
            await publisher.close()

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish at QoS 1 and await each PUBACK; news may be for nobody."""
        answers = await self._opened().publish(records)
        answers.forgive_nobody()
        if answers.failures:
            raise publish_failed(answers, len(records))

    async def send(self, topic: str, body: bytes, *, qos: int, retain: bool) -> None:
        """Hand one message to the connection as MQTT has it, for any QoS; await no answer."""
        connection = await self._opened().open()
        client: Client = connection.client
        info = client.publish(topic, body, qos=qos, retain=retain)
        connection.send_rest()
        if info.rc != MQTT_ERR_SUCCESS:
            lost = ConnectionLost(f"{self!r}: the connection broke")
            raise PublishFailed(str(lost), {0: lost}, indeterminate=False)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed what is published to `topics`, which may be filters, into `sink` while entered."""
        self._opened()
        filters = [checked_filter(one) for one in topics]
        own = BlockedSink(sink)
        try:
            for one in filters:
                await self._line_of(one).join(one, own)
            yield
        finally:
            for one in filters:
                await self._leave(one, own)
            await own.aclose()

    def listen_patterns(
        self, patterns: Sequence[str], sink: Sink
    ) -> AbstractAsyncContextManager[None]:
        """Listen as `listen` does: a filter is subscribed to as a topic is."""
        return self.listen(patterns, sink)

    def _line_of(self, topic_filter: str) -> ListeningLine:
        name = topic_filter if has_wildcards(topic_filter) else ""
        line = self._lines.get(name)
        if line is None or line.has_failed:
            line = ListeningLine(
                self._dial, self._session("news", KEPT), reconnects=self._reconnects
            )
            self._lines[name] = line
        return line

    async def _leave(self, topic_filter: str, sink: BlockedSink) -> None:
        name = topic_filter if has_wildcards(topic_filter) else ""
        line = self._lines.get(name)
        if line is not None and not line.leave(topic_filter, sink):
            del self._lines[name]
            await line.aclose()

    def _session(self, purpose: str, expiry: int) -> Session:
        return Session(
            self._client_ids.unique(purpose),
            expiry=expiry if self._version == 5 else 0,
            is_kept=False,
            version=self._version,
        )

    def _dial(
        self,
        session: Session,
        on_arrival: Callable[[Arrival], None],
        on_broken: Callable[[], None],
    ) -> MQTTConnection:
        return self._connection(session, on_arrival=on_arrival, on_broken=on_broken)

    def _opened(self) -> MQTTPublisher:
        if self._publisher is None:
            raise ChannelClosed(f"{self!r}: enter it first")
        return self._publisher
