"""Debts on Kafka: topics and classic consumer groups, settled record by record, in any order.

**Semantics** — Ack-capable. A topic is Kafka's topic of that name, a group its consumer group.
Kafka remembers one offset for each group and partition; what is settled beyond it is noted in the
commit's metadata. Records are readable with any client (the body is the value, headers are UTF-8;
`acked-id`, `acked-content-type` and `acked-timestamp` come first), and records that other clients
produced arrive too. A partition is read by one member of a group at a time: what a slow member
holds is not there for another one, and more members than partitions are idle. Topics must exist,
or `create_topics=` makes them.

**Ordering** — Each partition in the order in which the broker took it, as long as nothing is
delivered again; records with one key are in one partition.

**Acknowledgement** — Confirmed by the broker, in any order: an ack is CONFIRMED when a commit
covers it, by its offset or by its note. A note has room for about 1500 unsettled records before
the last settled one of a partition; settlements beyond it are confirmed and yet come again after a
restart, so keep `in_flight` below that. *One commit takes one to seven milliseconds*: a loop that
awaits one confirmed ack after the other runs at a few hundred a second, whatever the library. Let
acks share a commit: `batches()`, several tasks, or `confirm_acks=False`. There is no lease that
ends in time: a consumer keeps what it holds while it is a member, however long that takes; when it
is gone for `session_timeout`, or partitions are distributed anew, what it had not settled comes
again, and its late acks are `LeaseLost`. `nack` and its delay are kept in this consumer: others
need not wait, but after a rebalance it comes at once. `reject` produces the dead letter, then acks:
a crash between makes a duplicate. `attempt` counts what *this* consumer saw of it, from 1: Kafka
keeps no count, so it begins again after a restart or a rebalance.

**Loses messages when** — The cluster does: retention deletes records whether they are settled or
not, and replicas are only as many as the topic has (`min.insync.replicas`; `acks=all` is set
here). Records deleted before the group had read them are told: a warning of the logger
`acked.kafka`, and `layer.trimmed` counts them. A topic that was made anew is read from its oldest
record, with a warning, where it ends before the group's offset; nobody can tell where it does not.
A group whose offset was deleted begins anew, and nobody counts what was between. Another client
commits or resets the group's offsets. Compacted topics keep the last record of a key. While no
broker answers nothing is lost: a subscription notices within two `timeout`s and tries to join
again, a publish fails as indeterminate (and may be accepted later all the same), an ack is
`AckUnconfirmed`.

`check()` says which of these the brokers and topics are set up for, and `lag` in the statistics how
far behind the group is in the partitions of this consumer, in offsets.

**Native handle** — `producer`, the `aiokafka.AIOKafkaProducer` of the layer, while it is open. Do
not commit for a group that `acked` reads.

**Requires** — Kafka 2.1 or newer (tried with 4.3), no more than the classic group protocol, and
`pip install "acked[kafka]"` (aiokafka 0.13 or 0.14); asyncio.
"""

try:
    import aiokafka  # noqa: F401
except ImportError as error:
    raise ImportError(
        "acked.layers.kafka needs aiokafka: pip install 'acked[kafka]'", name=error.name
    ) from error

import re
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from acked.errors import (
    ConfigurationError,
    LayerError,
    PublishFailed,
)
from acked.layers._shared.options import (
    number,
    require_asyncio,
    switch,
    url_options,
    whole_number,
    without_credentials,
)
from acked.layers.kafka._admin import forget_group, read_settings
from acked.layers.kafka._feed import KafkaFeed
from acked.layers.kafka._findings import findings, retention_of
from acked.layers.kafka._membership import Membership
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import ProducerClient
from acked.layers.kafka._publisher import MAX_REQUEST, KafkaPublisher, Published
from acked.layers.kafka._retention_lag import count_overdue
from acked.types import Capabilities, Finding, Receipt, Record, Start

__all__ = ("KafkaLayer",)

MAX_PAYLOAD: Final = 1_000_000
"""Bytes: a broker takes 1 MiB by default, headers and all."""

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    release=True,
    persistent=True,
    groups=True,
    remove_group=True,
    replay=True,
    batch_publish=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    lag=True,
    order_after_nack=True,
    order="partition",
    lease="connection",
    max_payload=MAX_PAYLOAD,
    topic_pattern=r"[a-zA-Z0-9._-]+",
)

_MECHANISMS: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
_TLS_OPTIONS: Final = frozenset({"tls", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_OPTIONS: Final = _TLS_OPTIONS | {
    *("sasl_mechanism", "read_committed", "timeout", "session_timeout"),
    *("create_topics", "replicas"),
}


class KafkaLayer:
    """Keeps messages in Kafka's topics, and knows for each group which of them are settled.

    Args:
        servers: `host:port`, or several of them with commas between.
        user: the name for SASL; without it nobody is authenticated.
        password: the password for SASL.
        sasl_mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        tls: how to speak TLS; without it nothing is encrypted.
        read_committed: whether records of transactions that are open or were aborted are hidden.
        timeout: seconds within which a publish, commit or other request must be answered.
        session_timeout: seconds after which a member that is not heard of has left its group;
            the broker bounds it (6 to 1800 by default).
        create_topics: how many partitions a topic gets that does not exist; without it an
            unknown topic is refused with `LayerError`.
        replicas: how many copies such a topic has.
        start_offsets: by topic and partition, the offset at which a group begins there that has
            settled nothing of the topic yet; `start=` says where it begins in the others.

    """

    def __init__(
        self,
        servers: str = "localhost:9092",
        *,
        user: str | None = None,
        password: str | None = None,
        sasl_mechanism: str = "PLAIN",
        tls: ssl.SSLContext | None = None,
        read_committed: bool = True,
        timeout: float = 10.0,
        session_timeout: float = 10.0,
        create_topics: int | None = None,
        replicas: int = 1,
        start_offsets: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.capabilities: Final = CAPABILITIES
        self._options: Final = KafkaOptions(
            _servers(servers),
            timeout,
            session_timeout,
            read_committed,
            user,
            password,
            sasl_mechanism,
            tls,
            dict(start_offsets or {}),
        )
        self._create_topics = create_topics
        self._replicas = replicas
        self._publisher: KafkaPublisher | None = None
        self._groups: dict[str, set[str]] = {}
        self.trimmed: int = 0
        """How many records, at most, were deleted before a group of this layer had read them."""
        _check(self._options, create_topics, replicas)

    def __repr__(self) -> str:
        state = "closed" if self._publisher is None else "open"
        return f"<KafkaLayer {self._options.where}, {state}>"

    @classmethod
    def from_url(cls, url: str) -> "KafkaLayer":
        """Return a layer for `kafka://user:password@host:port,host:port?tls=true`.

        Options: those of the class, and `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths),
        each of which turns TLS on.
        """
        options = url_options(url, _OPTIONS)
        create = options.get("create_topics")
        login, _, servers = urlsplit(url).netloc.rpartition("@")
        user, _, password = login.partition(":")
        return cls(
            servers or "localhost:9092",
            user=unquote(user) or None,
            password=unquote(password) or None,
            sasl_mechanism=options.get("sasl_mechanism", "PLAIN"),
            tls=_tls(options, url),
            read_committed=switch("read_committed", options.get("read_committed", "true")),
            timeout=number("timeout", options.get("timeout", "10")),
            session_timeout=number("session_timeout", options.get("session_timeout", "10")),
            create_topics=None if create is None else whole_number("create_topics", create),
            replicas=whole_number("replicas", options.get("replicas", "1")),
        )

    @property
    def producer(self) -> ProducerClient:
        """The `AIOKafkaProducer` of this layer; raises `LayerError` while it is closed."""
        return self._opened().producer

    async def __aenter__(self) -> Self:
        """Connect the producer."""
        require_asyncio("aiokafka")
        publisher = KafkaPublisher(
            self._options, partitions=self._create_topics, replicas=self._replicas
        )
        await publisher.open()
        self._publisher = publisher
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the producer's connections."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.close()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Produce `records`, all at once; what was not answered may be there all the same."""
        publisher = self._opened()
        if not records:
            return ()
        published = await publisher.publish(records)
        if published.failures:
            raise _publish_failed(published, len(records))
        return [published.receipts[i] for i in range(len(records))]

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`; see `acked.abc.RemovesGroups`.

        Kafka deletes a group with everything it has committed. So one that has committed in other
        topics, too, is left as it is, with `LayerError`: name all its topics.
        """
        self._opened()
        await forget_group(self._options, topics, group)
        self._groups.pop(group, None)

    async def check(self) -> Sequence[Finding]:
        """Read what the brokers, and the topics used so far, are set to; see `Inspectable`."""
        topics = self._opened().topics
        settings = await read_settings(self._options, topics.known)
        retention = retention_of(settings)
        overdue = 0
        groups = {group: tuple(names) for group, names in self._groups.items()}
        for group, names in groups.items():  # one may join meanwhile
            places = await topics.places(names)
            overdue += await count_overdue(self._options, group, places, retention)
        return findings(settings, overdue=overdue, trimmed=self.trimmed, max_request=MAX_REQUEST)

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[KafkaFeed]:
        """Join `group`; leaving commits what was settled, and gives back the rest at once."""
        del lease  # a membership has no end in time
        publisher = self._opened()
        names = list(dict.fromkeys(topics))
        places = await publisher.topics.places(names)
        self._groups.setdefault(group, set()).update(names)

        async def join(owner: KafkaFeed) -> Membership:
            membership = Membership(self._options, names, group, owner, self._count)
            await membership.join(places, start)
            return membership

        async def bury(letters: Sequence[Record]) -> Mapping[int, Exception]:
            return (await publisher.publish(letters)).failures

        feed = KafkaFeed(join, bury, in_flight)
        try:
            await feed.enter()
            yield feed
        finally:
            await publisher.shielded(feed.leave())

    def _count(self, trimmed: int) -> None:
        self.trimmed += trimmed

    def _opened(self) -> KafkaPublisher:
        if self._publisher is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._publisher


def _servers(text: str) -> tuple[str, ...]:
    servers = tuple(server for part in text.split(",") if (server := part.strip()))
    for server in servers:
        if "/" in server or not re.fullmatch(r".+:\d{1,5}", server):
            raise ConfigurationError(
                f"{without_credentials(server)!r} is no server of Kafka; give host:port"
            )
    if not servers:
        raise ConfigurationError("no server of Kafka was named; give host:port")
    return servers


def _check(options: KafkaOptions, create_topics: int | None, replicas: int) -> None:
    numbers = {
        "timeout": options.timeout,
        "session_timeout": options.session_timeout,
        "create_topics": create_topics,
        "replicas": replicas,
    }
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} is {value}; it must be above 0")
    if options.sasl_mechanism not in _MECHANISMS:
        raise ConfigurationError(
            f"sasl_mechanism is {options.sasl_mechanism!r}; use one of "
            + ", ".join(sorted(_MECHANISMS))
        )


def _tls(options: Mapping[str, str], url: str) -> ssl.SSLContext | None:
    given = options.keys() & (_TLS_OPTIONS - {"tls"})
    if not switch("tls", options.get("tls", "true" if given else "false")):
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigurationError(
            f"the TLS options of {without_credentials(url)} cannot be used: {error}"
        ) from error
    return context


def _publish_failed(published: Published, count: int) -> PublishFailed:
    failures, indeterminate = published.failures, published.is_indeterminate
    first = next(iter(failures.values()))
    words = f"{len(failures)} of {count} record(s) were not accepted: {first}"
    if indeterminate:
        words += "; those that were sent may be accepted all the same, even later"
    return PublishFailed(words, failures, indeterminate=indeterminate)
