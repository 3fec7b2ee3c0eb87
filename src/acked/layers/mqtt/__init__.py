"""Acknowledged messages on MQTT 5 at QoS 1: a group is a session of the broker's, acked by PUBACK.

Longer than 300 lines: a third is what a user must know of brokers, and what each argument is.

**Semantics** — Ack-capable. A group is a persistent session: clean start off, an expiry
(`session_expiry`), a client id made of `client_id`, the group's name and its topics; so name
always the same topics for a group. It is owed what is published *after its first subscription*:
MQTT keeps nothing for a group that does not exist yet, so a `publish` to a topic that no session
subscribes to fails with `NoSubscribers` where the broker tells (it may; Mosquitto does), unless
`mandatory=False`. A group has one consumer at a time, the
newest: a second one, of another process, takes the session over, and the first raises `LayerError`
once it is told so, or comes back and finds the other's mark in the session. With `shared=True`
consumers share `$share/group/topic`, each by a session of its own, told apart by
`client_id`: a member that is away keeps what it was sent, and goes on being sent its share, until
it returns or its session expires. With `patterns=True` names are filters: `plant/+/temperature`,
`plant/#`; topics that are new later are in them. Records are readable with any client: headers are
user properties, `acked:id`, `acked:key` and `acked:timestamp` too; messages from elsewhere arrive
with an id made up. A response topic and correlation data are the headers `mqtt-response-topic` and
`mqtt-correlation-data` (base64), received and published. What is retained arrives with
`retained=True` only, once for a new group, with the header `mqtt-retain`. Of user properties the
first 1000 are read (more is the header `mqtt-cut`), and 996 headers can be published. A QoS 0
message is delivered with nothing to acknowledge. What reaches a session and is of no topic of its
group is acknowledged, set aside and told once (`acked.mqtt`).

**Ordering** — Each topic in the order in which the broker took it from one publisher, as long as
nothing is delivered again; shared consumers share it.

**Acknowledgement** — By PUBACK, which MQTT does not answer: never confirmed. PUBACKs leave in the
order of arrival, as the protocol demands, so an ack before which something is unsettled is *noted*,
and sent when that is settled. Does the connection break meanwhile, it is not delivered again by
the same subscription; if the process dies, it is. An ack that the connection broke over is
`AckUnconfirmed`; tried again, it is decided. The broker sends no more than `in_flight`
messages beyond the first unsettled one, or than its own limit (Mosquitto's
`max_inflight_messages` is 20): one held, or nacked with a long delay, in the end holds up the
others. Nothing more is read while 1 MiB waits to be handed out. The lease is the connection: when
it breaks, whatever is held comes again, and a late settlement is `LeaseLost`, never sent on another
connection. `nack` and its delay are local timers. What was nacked comes back, its delay over,
before what is new, and in the order of publishing.
`reject` publishes to the dead letters, awaits the PUBACK, then acks; where no session subscribes
to the dead letters the broker would keep none, so the message stays owed, and `LayerError` says so.
A dead letter larger than the broker takes is cut: its reason first, then what was added to it, then
its headers. `attempt` is a local count, and 2 for the first delivery with the DUP flag: also for
one that was sent to a
consumer that left without having seen it.

**Loses messages when** — The broker drops them: Mosquitto keeps 1000 for a session by default and
drops the newest beyond, *having accepted them* (set `max_queued_messages 0`); without
`persistence`, or between two saves (`autosave_interval`) of a broker that is killed, its
sessions are gone (a warning of the logger `acked.mqtt`). The session expires while nobody is
connected. With `mandatory=False`, nobody has subscribed: Mosquitto 2.0.11 forgets at a restart who
*shares* a topic, until one of them is back. Somebody publishes with QoS 0: more than `in_flight`
that wait are dropped (`dropped`).

**Native handle** — `client`, the `paho.mqtt.client.Client` that publishes, while it is connected;
after a lost connection it is another one. Call nothing of it that reads or loops.

**Requires** — An MQTT 5 broker (tried with Mosquitto 2.0, HiveMQ CE 2024, ActiveMQ Artemis 2.44)
and `pip install "acked[mqtt]"` (aiomqtt 2.5, of which the paho-mqtt 2 beneath is used: aiomqtt
itself acknowledges on receipt); asyncio or trio, on POSIX. A user who may subscribe to
`acked/seat/+`, where the marks of consumers are, and read `$SYS/broker/#` for `check`; without,
other consumers and dropped messages are noticed less often. Of a broker: sessions that outlive
their connection, QoS 1, for `shared` shared subscriptions; for a group that two processes want,
that it tells the older one (DISCONNECT 0x8E), or answers truly what an UNSUBSCRIBE found. HiveMQ
CE sends what is new when all that it sent is settled: one message held, or nacked with a delay,
holds up its group at once. Artemis sets no DUP flag, so `attempt` begins anew in another process,
and does not tell that nobody has subscribed; one older than 2.44 sends nothing more to a session
whose window was full when it was left.
"""

from importlib import import_module

try:
    import_module("aiomqtt")
except ImportError as _absent:
    raise ImportError(
        "acked.layers.mqtt needs aiomqtt: pip install 'acked[mqtt]'", name=_absent.name
    ) from _absent

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import urlsplit

from msgspec.structs import replace
from paho.mqtt.client import Client
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked.errors import CapabilityError, ConfigurationError, LayerError, hiding_arguments
from acked.layers._shared.passwords import Password
from acked.layers._shared.urls import number, switch, url_options, whole_number
from acked.layers.mqtt._address import TLS_OPTIONS, address_of, split_url, tls_of
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._feed import MQTTFeed
from acked.layers.mqtt._filters import checked_filter, matcher, without_covered
from acked.layers.mqtt._findings import DROPPED, VERSION, findings
from acked.layers.mqtt._identity import ClientIds, share_name
from acked.layers.mqtt._options import (
    CAPABILITIES,
    LARGEST_WINDOW,
    OWN_OPTIONS,
    WEEK,
    check_numbers,
)
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._publisher import MQTTPublisher, PublishResults, publish_failed
from acked.layers.mqtt._session import Session
from acked.layers.mqtt._tail import MQTTTail
from acked.types import Finding, Receipt, Record, Start

__all__ = ("MQTTLayer", "MQTTTail")


class MQTTLayer:
    """Keeps messages in the sessions of an MQTT 5 broker until each group has acknowledged them.

    Args:
        url: `mqtt://user:password@host:port`, or `mqtts://` for TLS.
        password: the password of the user whom the URL names without one, or a function without
            arguments that returns it: it is asked for each connection, so that the password may
            change.
        client_id: how client ids begin; with `shared`, what tells one process from the others,
            and the same after its restart.
        session_expiry: seconds for which the broker keeps what it owes to a group that is not
            connected; 4294967295 is for ever.
        shared: let several consumers of a group share its messages.
        mandatory: whether a publish fails with `NoSubscribers` where the broker says that no
            session subscribes to the topic, and so kept nothing.
        retained: let a new group begin with what is retained of its topics, each with the header
            `mqtt-retain`; MQTT sends none to those who share.
        keepalive: seconds of silence after which the connection is tried; after twice as many
            without an answer it counts as lost. Whole seconds.
        timeout: seconds without any answer to what was asked, after which the connection is given
            up.
        ca_certs: a file of certificates to trust instead of the system's.
        certfile: a file with a certificate of ours.
        keyfile: and its key, if that is a file of its own.

    """

    @hiding_arguments
    def __init__(
        self,
        url: str = "mqtt://localhost:1883",
        *,
        password: Password | None = None,
        client_id: str | None = None,
        session_expiry: int = WEEK,
        shared: bool = False,
        mandatory: bool = True,
        retained: bool = False,
        keepalive: int = 15,
        timeout: float = 10.0,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        self._address: Final = address_of(url).with_password(password)
        check_numbers(session_expiry, keepalive, timeout)
        if shared and retained:
            raise ConfigurationError(
                "retained=True and shared=True: MQTT sends nothing that is retained to a shared "
                "subscription; leave one of them out"
            )
        # Each member of a shared group has a session of its own, which only it knows.
        self.capabilities: Final = replace(CAPABILITIES, remove_group=not shared)
        self.dropped: int = 0
        """How many QoS 0 messages arrived while too many waited, and were dropped."""
        self._client_ids = ClientIds(client_id, is_shared=shared)
        self._session_expiry = session_expiry
        self._is_shared = shared
        self._is_mandatory = mandatory
        self._with_retained = retained
        self._keepalive = keepalive
        self._timeout = timeout
        tls = tls_of(self._address, ca_certs, certfile, keyfile)
        self._connection: Final = partial(
            MQTTConnection, self._address, tls=tls, keepalive=keepalive, timeout=timeout
        )
        self._feeds: set[MQTTFeed] = set()
        self._publisher: MQTTPublisher | None = None
        self._client: Client | None = None

    def __repr__(self) -> str:
        state = "closed" if self._publisher is None else "open"
        return f"<MQTTLayer {self._address.scheme}://{self._address.where}, {state}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "MQTTLayer":
        """Return a layer for `mqtt://user:password@host:port?client_id=shop&session_expiry=3600`.

        `mqtts://` speaks TLS. Options: those of the class; `shared`, `mandatory` and `retained` are
        `true` or `false`.
        """
        split_url(url)
        options = url_options(url, OWN_OPTIONS | TLS_OPTIONS)
        return cls(
            urlsplit(url)._replace(query="").geturl(),
            client_id=options.get("client_id"),
            session_expiry=whole_number("session_expiry", options.get("session_expiry", str(WEEK))),
            shared=switch("shared", options.get("shared", "false")),
            mandatory=switch("mandatory", options.get("mandatory", "true")),
            retained=switch("retained", options.get("retained", "false")),
            keepalive=whole_number("keepalive", options.get("keepalive", "15")),
            timeout=number("timeout", options.get("timeout", "10")),
            **{name: options[name] for name in TLS_OPTIONS & options.keys()},
        )

    @property
    def client(self) -> Client:
        """The `paho.mqtt.client.Client` that publishes; raises `LayerError` while it is closed."""
        self._open_publisher()
        return cast("Client", self._client)  # it was made with the publisher

    async def __aenter__(self) -> Self:
        """Connect for publishing."""
        publisher = MQTTPublisher(self._publishing_connection, timeout=self._timeout)
        await publisher.open()
        self._publisher = publisher
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection for publishing."""
        publisher, self._publisher, self._client = self._publisher, None, None
        if publisher is not None:
            await publisher.close()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish at QoS 1 and await each PUBACK; a receipt's position is empty."""
        answers = await self._publish(records)
        if not self._is_mandatory:
            answers.forgive_nobody()
        if answers.failures:
            raise publish_failed(answers, len(records))
        if self._feeds:
            topics = {record.topic for record in records}
            for feed in self._feeds:
                feed.published(topics)
        return [Receipt(record.id, record.topic) for record in records]

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[MQTTFeed]:
        """Join `group` by its session; leaving disconnects, and the broker keeps what is owed."""
        del lease  # it lasts as long as the connection
        if start.kind != "earliest":
            raise CapabilityError("MQTT cannot tell a new group where to start; leave start= out")
        self._open_publisher()
        filters = list(dict.fromkeys(topics))
        limit = min(in_flight, LARGEST_WINDOW)
        with self._client_ids.taken(group, filters) as client_id:
            session = Session(client_id, expiry=self._session_expiry, receive_maximum=limit)

            def connect(
                on_arrival: Callable[[Arrival], None],
                on_broken: Callable[[], None],
                is_full: Callable[[], bool],
            ) -> MQTTConnection:
                return self._connection(
                    session, on_arrival=on_arrival, on_broken=on_broken, is_full=is_full
                )

            feed = MQTTFeed(
                connect,
                self._publish,
                without_covered(filters),
                share=f"$share/{share_name(group)}/" if self._is_shared else "",
                name=f"group {group!r}",
                limit=limit,
                with_retained=self._with_retained,
                patience=self._timeout,
                on_dropped=self._count,
            )
            try:
                await feed.join()
                self._feeds.add(feed)
                yield feed
            finally:
                self._feeds.discard(feed)
                await feed.leave()

    def consume_patterns(
        self, patterns: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AbstractAsyncContextManager[MQTTFeed]:
        """Join `group` as `consume` does: a filter is subscribed to as a topic is."""
        return self.consume(patterns, group, in_flight=in_flight, lease=lease, start=start)

    def matcher(self, pattern: str) -> Callable[[str], bool]:
        """Return what says whether a topic matches; see `acked.abc.AckPatternLayer`."""
        return matcher(checked_filter(pattern))

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """End the session of `group`, with these topics; see `acked.abc.RemovesGroups`."""
        self._open_publisher()
        with self._client_ids.taken(group, list(dict.fromkeys(topics))) as client_id:
            session = Session(client_id, expiry=self._session_expiry, is_kept=False)
            connection = self._connection(session)
            await connection.open()
            await connection.close()

    async def check(self) -> Sequence[Finding]:
        """Say what the broker grants to a session and tells of itself; see `acked.abc.Inspectable`.

        Connects once more, by a session that ends with it.
        """
        self._open_publisher()
        told: dict[str, str] = {}

        def note(arrival: Arrival) -> None:
            told[arrival.topic] = arrival.payload.decode(errors="replace")

        session_id = self._client_ids.unique("check")
        session = Session(session_id, expiry=self._session_expiry, is_kept=False)
        connection = self._connection(session, on_arrival=note)
        await connection.open()
        try:
            now = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            await connection.subscribe([], also=[VERSION, DROPPED], retained=now)
            await connection.barrier()
        finally:
            await connection.close()
        return findings(
            connection.granted,
            told,
            self._address,
            session_expiry=self._session_expiry,
            keepalive=self._keepalive,
            is_shared=self._is_shared,
            unheard=sorted({topic for feed in self._feeds for topic in feed.unheard}),
        )

    async def _publish(self, records: Sequence[Record]) -> PublishResults:
        return await self._open_publisher().publish(records)

    def _open_publisher(self) -> MQTTPublisher:
        if self._publisher is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._publisher

    def _publishing_connection(
        self, on_puback: Callable[[int, int, bytes], bool], on_broken: Callable[[], None]
    ) -> MQTTConnection:
        session = Session(self._client_ids.unique("publisher"))
        connection = self._connection(session, on_puback=on_puback, on_broken=on_broken)
        self._client = connection.client
        return connection

    def _count(self, dropped: int) -> None:
        self.dropped += dropped
