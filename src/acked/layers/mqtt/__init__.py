"""Debts on MQTT 5 at QoS 1: a group is a session that the broker keeps, acked by PUBACK.

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
it returns or its session expires. Records are readable with any client: headers are user
properties, `acked:id`, `acked:key` and `acked:timestamp` too; messages from elsewhere arrive with
an id made up, retained ones do not. A QoS 0 message is delivered with nothing to acknowledge.

**Ordering** — Each topic in the order in which the broker took it from one publisher, as long as
nothing is delivered again; shared consumers share it.

**Acknowledgement** — By PUBACK, which MQTT does not answer: never confirmed. PUBACKs leave in the
order of arrival, as the protocol demands, so an ack before which something is unsettled is *noted*,
and sent when that is settled. Does the connection break meanwhile, it is not delivered again by
the same subscription; if the process dies, it is. The broker sends no more than `in_flight`
messages beyond the first unsettled one, or than its own limit (Mosquitto's
`max_inflight_messages` is 20): one held, or nacked with a long delay, in the end holds up the
others. The lease is the connection: when it breaks, whatever is held comes again, and a late
settlement is `LeaseLost`, never sent on another connection. `nack` and its delay are local timers.
`reject` publishes to the dead letters, awaits the PUBACK, then acks; where no session subscribes
to the dead letters the broker keeps none, so the message stays owed (`AckUnconfirmed`). `attempt`
is a local count, and 2 for the first delivery with the DUP flag: also for one that was sent to a
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

**Requires** — An MQTT 5 broker (tried with Mosquitto 2.0) and `pip install "acked[mqtt]"`
(aiomqtt 2.5, of which the paho-mqtt 2 beneath is used: aiomqtt itself acknowledges on receipt);
asyncio or trio, on POSIX. A user who may subscribe to `acked/seat/+`, where the marks are, and read
`$SYS/broker/#` for `check`; without, other consumers and dropped messages are noticed less often.
paho-mqtt cannot read a user property with U+FEFF in it: one from elsewhere ends the subscription
with `LayerError`.
"""

try:
    import aiomqtt  # noqa: F401
except ImportError as error:
    raise ImportError(
        "acked.layers.mqtt needs aiomqtt: pip install 'acked[mqtt]'", name=error.name
    ) from error

import hashlib
import itertools
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

from msgspec.structs import replace
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from acked.errors import CapabilityError, ConfigurationError, LayerError, PublishFailed
from acked.layers._shared.options import number, switch, url_options, whole_number
from acked.layers.mqtt._address import TLS_OPTIONS, address_of, tls_of
from acked.layers.mqtt._connection import MQTTConnection
from acked.layers.mqtt._feed import MQTTFeed
from acked.layers.mqtt._findings import DROPPED, VERSION, findings
from acked.layers.mqtt._publisher import MQTTPublisher, PublishResults
from acked.layers.mqtt._session import Session
from acked.types import Capabilities, Finding, Receipt, Record, Start

__all__ = ("MQTTLayer",)

CAPABILITIES: Final = Capabilities(
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    persistent=True,
    groups=True,
    remove_group=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    order_after_nack=True,
    order="total",
    lease="connection",
    # A packet has up to 256 MiB; one MiB of it is left for the properties.
    max_payload=255 * 1024 * 1024,
    topic_pattern=r"(?!\$)[^+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]+",
)

WEEK: Final = 7 * 24 * 3600
LARGEST_WINDOW: Final = 65_535
NEVER_EXPIRES: Final = 0xFFFF_FFFF

_OWN_OPTIONS: Final = frozenset(
    {"client_id", "keepalive", "mandatory", "session_expiry", "shared", "timeout"}
)
_UNFIT_FOR_AN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]")


class MQTTLayer:
    """Keeps messages in the sessions of an MQTT 5 broker until each group has acknowledged them.

    Args:
        url: `mqtt://user:password@host:port`, or `mqtts://` for TLS.
        client_id: how client ids begin; with `shared`, what tells one process from the others,
            and the same after its restart.
        session_expiry: seconds for which the broker keeps what it owes to a group that is not
            connected; 4294967295 is for ever.
        shared: let several consumers of a group share its messages.
        mandatory: whether a publish fails with `NoSubscribers` where the broker says that no
            session subscribes to the topic, and so kept nothing.
        keepalive: seconds of silence after which the connection is tried; after twice as many
            without an answer it counts as lost. Whole seconds.
        timeout: seconds without any answer to what was asked, after which the connection is given
            up.
        ca_certs: a file of certificates to trust instead of the system's.
        certfile: a file with a certificate of ours.
        keyfile: and its key, if that is a file of its own.

    """

    def __init__(
        self,
        url: str = "mqtt://localhost:1883",
        *,
        client_id: str | None = None,
        session_expiry: int = WEEK,
        shared: bool = False,
        mandatory: bool = True,
        keepalive: int = 15,
        timeout: float = 10.0,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        self._address: Final = address_of(url)
        _check(client_id, session_expiry, keepalive, timeout, shared=shared)
        # Each member of a shared group has a session of its own, which only it knows.
        self.capabilities: Final = replace(CAPABILITIES, remove_group=not shared)
        self.dropped: int = 0
        """How many QoS 0 messages arrived while too many waited, and were dropped."""
        self._prefix = client_id or "acked"
        self._session_expiry = session_expiry
        self._is_shared = shared
        self._is_mandatory = mandatory
        self._keepalive = keepalive
        self._timeout = timeout
        self._tls = tls_of(self._address, ca_certs, certfile, keyfile)
        self._taken: set[str] = set()
        self._publisher: MQTTPublisher | None = None
        self._client: Client | None = None

    def __repr__(self) -> str:
        state = "closed" if self._publisher is None else "open"
        return f"<MQTTLayer {self._address.scheme}://{self._address.where}, {state}>"

    @classmethod
    def from_url(cls, url: str) -> "MQTTLayer":
        """Return a layer for `mqtt://user:password@host:port?client_id=shop&session_expiry=3600`.

        `mqtts://` speaks TLS. Options: those of the class; `shared` and `mandatory` are `true` or
        `false`.
        """
        options = url_options(url, _OWN_OPTIONS | TLS_OPTIONS)
        return cls(
            urlsplit(url)._replace(query="").geturl(),
            client_id=options.get("client_id"),
            session_expiry=whole_number("session_expiry", options.get("session_expiry", str(WEEK))),
            shared=switch("shared", options.get("shared", "false")),
            mandatory=switch("mandatory", options.get("mandatory", "true")),
            keepalive=whole_number("keepalive", options.get("keepalive", "15")),
            timeout=number("timeout", options.get("timeout", "10")),
            **{name: options[name] for name in TLS_OPTIONS & options.keys()},
        )

    @property
    def client(self) -> Client:
        """The `paho.mqtt.client.Client` that publishes; raises `LayerError` while there is none."""
        self._open_publisher()
        if self._client is None:
            raise LayerError(f"{self!r} is not connected")
        return self._client

    async def __aenter__(self) -> Self:
        """Connect for publishing."""
        publisher = MQTTPublisher(self._publishing_link, timeout=self._timeout)
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
            raise _publish_failed(answers, len(records))
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
        names = list(dict.fromkeys(topics))
        limit = min(in_flight, LARGEST_WINDOW)
        client_id = self._take_seat(group, names)
        session = Session(client_id, expiry=self._session_expiry, receive_maximum=limit)

        def make_link(
            on_message: Callable[[MQTTMessage], None], on_broken: Callable[[], None]
        ) -> MQTTConnection:
            return self._link(session, on_message=on_message, on_broken=on_broken)

        share = f"$share/{_share_name(group)}/" if self._is_shared else ""
        feed = MQTTFeed(
            make_link,
            self._publish,
            [share + name for name in names],
            name=f"group {group!r}",
            limit=limit,
            on_dropped=self._count,
        )
        try:
            await feed.join()
            yield feed
        finally:
            try:
                await feed.leave()
            finally:
                self._taken.discard(client_id)

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """End the session of `group`, with these topics; see `acked.abc.RemovesGroups`."""
        self._open_publisher()
        client_id = self._take_seat(group, list(dict.fromkeys(topics)))
        try:
            link = self._link(Session(client_id, expiry=self._session_expiry, is_kept=False))
            await link.open()
            await link.close()
        finally:
            self._taken.discard(client_id)

    async def check(self) -> Sequence[Finding]:
        """Say what the broker grants to a session and tells of itself; see `acked.abc.Inspectable`.

        Connects once more, by a session that ends with it.
        """
        self._open_publisher()
        told: dict[str, str] = {}

        def note(message: MQTTMessage) -> None:
            told[message.topic] = message.payload.decode(errors="replace")

        session = Session(self._unique_id("check"), expiry=self._session_expiry, is_kept=False)
        link = self._link(session, on_message=note)
        await link.open()
        try:
            await link.subscribe([], also=[VERSION, DROPPED], with_retained=True)
            await link.barrier()
        finally:
            await link.close()
        return findings(
            link.granted,
            told,
            session_expiry=self._session_expiry,
            keepalive=self._keepalive,
            is_shared=self._is_shared,
        )

    async def _publish(self, records: Sequence[Record]) -> PublishResults:
        return await self._open_publisher().publish(records)

    def _open_publisher(self) -> MQTTPublisher:
        if self._publisher is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._publisher

    def _take_seat(self, group: str, topics: Sequence[str]) -> str:
        """Return a client id that no other consumer of this layer has, the same ones each time."""
        digest = hashlib.sha256("\0".join([group, *sorted(topics)]).encode()).hexdigest()[:16]
        base = f"{self._prefix}-{_UNFIT_FOR_AN_ID.sub('_', group)[:40]}-{digest}"
        if self._is_shared:
            seats = (f"{base}-{number}" for number in itertools.count())
            base = next(seat for seat in seats if seat not in self._taken)
        elif base in self._taken:
            raise LayerError(
                f"group {group!r} has a consumer already; a session has one connection: make the "
                "layer with shared=True to let several consumers share a group"
            )
        self._taken.add(base)
        return base

    def _publishing_link(
        self, on_publish: Callable[[int, ReasonCode], None], on_broken: Callable[[], None]
    ) -> MQTTConnection:
        session = Session(self._unique_id("publisher"))
        link = self._link(session, on_publish=on_publish, on_broken=on_broken)
        self._client = link.client
        return link

    def _unique_id(self, purpose: str) -> str:
        return f"{self._prefix}-{purpose}-{uuid4().hex[:12]}"

    def _link(
        self,
        session: Session,
        *,
        on_broken: Callable[[], None] | None = None,
        on_message: Callable[[MQTTMessage], None] | None = None,
        on_publish: Callable[[int, ReasonCode], None] | None = None,
    ) -> MQTTConnection:
        return MQTTConnection(
            self._address,
            session,
            tls=self._tls,
            keepalive=self._keepalive,
            timeout=self._timeout,
            on_message=on_message,
            on_publish=on_publish,
            on_broken=on_broken,
        )

    def _count(self, dropped: int) -> None:
        self.dropped += dropped


def _check(
    client_id: str | None, session_expiry: int, keepalive: int, timeout: float, *, shared: bool
) -> None:
    if not 0 < session_expiry <= NEVER_EXPIRES:
        raise ConfigurationError(
            f"session_expiry is {session_expiry}; it must be from 1 to {NEVER_EXPIRES}"
        )
    if not 0 < keepalive <= LARGEST_WINDOW:
        raise ConfigurationError(f"keepalive is {keepalive}; it must be from 1 to {LARGEST_WINDOW}")
    if not timeout > 0:
        raise ConfigurationError(f"timeout is {timeout}; it must be above 0")
    if client_id is not None and (not client_id or _UNFIT_FOR_AN_ID.search(client_id)):
        raise ConfigurationError(
            f"client_id is {client_id!r}; use letters, digits, '.', '_' and '-' only"
        )
    if shared and client_id is None:
        raise ConfigurationError(
            "shared=True needs a client_id=, another one for each process and the same after its "
            "restart: the broker keeps what a member is owed under it"
        )


def _share_name(group: str) -> str:
    """Return `group` as the name of a share, which may not have `/`, `+` or `#` in it."""
    plain = _UNFIT_FOR_AN_ID.sub("_", group)
    if plain == group:
        return group
    return f"{plain}-{hashlib.sha256(group.encode()).hexdigest()[:16]}"


def _publish_failed(answers: PublishResults, count: int) -> PublishFailed:
    first = answers.failures[min(answers.failures)]
    words = f"{len(answers.failures)} of {count} record(s) were not accepted: {first}"
    if answers.is_indeterminate:
        words += "; those that were sent may have been accepted all the same"
    return PublishFailed(words, answers.failures, indeterminate=answers.is_indeterminate)
