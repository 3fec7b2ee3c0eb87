"""Topics and classic consumer groups of Kafka, settled record by record, in any order.

**Semantics** — Ack-capable. A topic is Kafka's topic of that name, a group its consumer group.
Kafka remembers one offset for each group and partition; what is settled beyond it is written in
the commit's metadata. Records are readable with any client (the body is the value, headers are
UTF-8; `acked-id`, `acked-content-type` and `acked-timestamp` come first; of a name that comes more
than once the last value counts, and `kafka-repeated` has the others), and records that other
clients produced arrive too, whatever is in them: a null value is an empty body, and None where the
topic's type admits it; None with a key is published as a null, the tombstone of a compacted topic.
A partition is read by one member of a group at a time: what a slow member holds is not there for
another one, and more members than partitions are idle. Topics must exist, or `create_topics=`
makes them. With `patterns=True` topics are names, or regular expressions that begin with ^ and
match from there on: `^orders[.]` is every topic whose name begins so. New topics join within some
seconds and are read from their first record; `start=` says where a group begins that has settled
nothing of any of them. (Brokers from 2.8 on. `check()` looks at topics that were named.)

**Ordering** — Each partition in the order in which the broker took it; what was nacked or given
back comes in that order, too, before what was not delivered yet.

**Acknowledgement** — Confirmed by the broker, in any order: an ack is CONFIRMED when a commit
covers it, by its offset or by its metadata. The metadata has room for about a thousand unsettled
records before the last settled one of a partition (`offset.metadata.max.bytes`); no more of it is
read before some of them are settled. *One commit takes one to seven milliseconds*: a loop that
awaits one confirmed ack after the other runs at a few hundred a second, whatever the library. Let
acks share a commit: `batches()`, several tasks, or `confirm_acks=False`. There is no lease that
ends in time: a consumer keeps what it holds while it is a member, however long that takes; when it
is gone for `session_timeout`, what it had not settled comes again, to others. A rebalance takes
nothing away that stays with its member. A partition that moves is not read on, and goes when
nothing of it is in hand, or after `handover_timeout`: then it comes to the other member, too, and
settling it here is `LeaseLost`. (Beside other clients in the group partitions move at once.)
`group_instance_id` makes a member that restarts in time the same one. `nack` and its delay are kept
in this consumer: others need not wait, but when the partition moves it comes at once. `reject`
produces the dead letter, then acks: a crash between makes a duplicate. Kafka counts no deliveries:
`attempt` is what the metadata of the group's commits tells of it. That is nacks, as of the last
commit, and consumers that died, or were cut off, while they may have had it in hand; what such a
one handled alone, at its last chance, is given up. (`offset.metadata.max.bytes` must be 100 or more
for that.)

**Loses messages when** — The cluster does: retention deletes records whether they are settled or
not, and replicas are only as many as the topic has (`min.insync.replicas`; `acks=all` is set
here). Records deleted before the group had read them are told: a warning of the logger
`acked.layers.kafka`, and `layer.trimmed` counts them. A topic that was made anew is read from its
first record, with a warning: brokers from 2.8 on tell by its id, others only where the group's
offsets are gone or beyond its end. (It takes two seconds; a consumer that dies within them leaves
behind what it had settled of the new one by then.) A group whose offset was deleted begins anew,
and nobody counts what was between. Another client commits or resets the group's offsets. Compacted
topics keep the last record of a key. While no broker answers nothing is lost: a subscription
notices within two `timeout`s and tries to join again, a publish fails as indeterminate (and may be
accepted later all the same), an ack is `AckUnconfirmed`; settling again decides it.

Looking into dead letters reads without joining, and shows what was not removed that way, whoever
consumes the topic. Kafka deletes no single record: what is removed is noted in the offsets of the
group `acked-dead-letters`, for as long as the broker keeps those (`offsets.retention.minutes`), and
other groups still get it. Processes that remove at the same time may undo each other's. There is
room for some thousand records left before the last one removed; beyond that removing fails.

`check()` says which of these the brokers and topics are set up for, and `lag` in the statistics how
far behind the group is in the partitions of this consumer, in offsets, with what hangs in
transactions.

**Native handle** — `producer`, the `aiokafka.AIOKafkaProducer` of the layer, while it is open; it
sends once something was published. Do not commit for a group that `acked` reads.

**Requires** — Kafka 2.1 or newer (tried with 4.3), no more than the classic group protocol, and
`pip install "acked[kafka]"` (aiokafka 0.13 or 0.14); asyncio.

Longer than 300 lines: a third is what its options mean and when it loses messages.
"""

from importlib import import_module

try:
    import_module("aiokafka")
except ImportError as _absent:
    raise ImportError(
        "acked.layers.kafka needs aiokafka: pip install 'acked[kafka]'", name=_absent.name
    ) from _absent

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec

from acked.errors import LayerError, hiding_arguments
from acked.layers._shared.passwords import Password
from acked.layers.kafka._admin import forget_group, read_settings
from acked.layers.kafka._browsing import TopicBrowser
from acked.layers.kafka._client import HEADERS
from acked.layers.kafka._commit_metadata import MetadataLimit
from acked.layers.kafka._feed import KafkaFeed
from acked.layers.kafka._findings import findings, retention_of
from acked.layers.kafka._instances import Instances
from acked.layers.kafka._membership import Membership
from acked.layers.kafka._options import (
    MAX_PAYLOAD,
    KafkaOptions,
    arguments_of,
    check_options,
    server_list,
)
from acked.layers.kafka._protocols import ProducerClient
from acked.layers.kafka._publisher import KafkaPublisher, open_publisher
from acked.layers.kafka._retention_lag import count_overdue
from acked.layers.kafka._tail import KafkaTail
from acked.layers.kafka._topic_choice import TopicChoice, matcher
from acked.layers.kafka._transport import transport
from acked.types import Capabilities, Finding, KeptRecord, Receipt, Record, Start

__all__ = ("KafkaLayer", "KafkaTail")

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    release=True,
    last_chance=True,
    persistent=True,
    groups=True,
    remove_group=True,
    browse=True,
    replay=True,
    batch_publish=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    lag=True,
    patterns=True,
    order_after_nack=True,
    order="partition",
    lease="connection",
    max_payload=MAX_PAYLOAD,
    topic_pattern=r"[a-zA-Z0-9._-]+",
)


class KafkaLayer:
    """Keeps messages in Kafka's topics, and knows for each group which of them are settled.

    Args:
        servers: `host:port`, or several of them with commas between.
        user: the name for SASL; without it nobody is authenticated.
        password: the password for SASL, or a function without arguments that returns it: it is
            asked for each connection, so that the password may change; of `OAUTHBEARER` the token.
        sasl_mechanism: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
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
        handover_timeout: seconds for which handlers may go on with messages of a partition that
            is to go to another member; then it goes, and settling them is `LeaseLost`.
        group_instance_id: the name under which this process is the same member of its groups
            after a restart (static membership): within `session_timeout` its partitions wait for
            it, and nobody else is disturbed. No two processes of a group may have the same.
        max_payload: bytes of the largest body; above 1,000,000 only where topics take more
            (`max.message.bytes`).

    """

    @hiding_arguments
    def __init__(
        self,
        servers: str = "localhost:9092",
        *,
        user: str | None = None,
        password: Password | None = None,
        sasl_mechanism: str = "PLAIN",
        tls: ssl.SSLContext | None = None,
        read_committed: bool = True,
        timeout: float = 10.0,
        session_timeout: float = 10.0,
        create_topics: int | None = None,
        replicas: int = 1,
        start_offsets: Mapping[tuple[str, int], int] | None = None,
        handover_timeout: float = 30.0,
        group_instance_id: str | None = None,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self.capabilities: Final = msgspec.structs.replace(CAPABILITIES, max_payload=max_payload)
        self._options: Final = KafkaOptions(
            servers=server_list(servers),
            timeout=timeout,
            session_timeout=session_timeout,
            read_committed=read_committed,
            user=user,
            password=password,
            sasl_mechanism=sasl_mechanism,
            tls=tls,
            start_offsets=dict(start_offsets or {}),
            handover_timeout=handover_timeout,
            max_payload=max_payload,
        )
        self._instances: Final = Instances(group_instance_id)
        self._limit: Final = MetadataLimit()
        self._browser: Final = TopicBrowser(
            self._options, lambda: self._opened().topics, self._limit
        )
        self._create_topics = create_topics
        self._replicas = replicas
        self._publisher: KafkaPublisher | None = None
        self._groups: dict[str, set[str]] = {}
        self.trimmed: int = 0
        """How many records, at most, were deleted before a group of this layer had read them."""
        check_options(self._options, create_topics=create_topics, replicas=replicas)

    def __repr__(self) -> str:
        state = "closed" if self._publisher is None else "open"
        return f"<KafkaLayer {self._options.where}, {state}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "KafkaLayer":
        """Return a layer for `kafka://user:password@host:port,host:port?tls=true`.

        Options: those of the class, and `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths),
        each of which turns TLS on. In user and password `/`, `?`, `#`, `@` and `%` are written as
        `%2F`, `%3F`, `%23`, `%40` and `%25`.
        """
        return cls(**arguments_of(url))

    @property
    def producer(self) -> ProducerClient:
        """The `AIOKafkaProducer` of this layer; raises `LayerError` while it is closed."""
        return self._opened().producer

    async def __aenter__(self) -> Self:
        """Connect the producer."""
        self._publisher = await open_publisher(
            self._options, partitions=self._create_topics, replicas=self._replicas
        )
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
        published = await self._opened().publish(records)
        if published.failures:
            raise published.failure(len(records))
        return [published.receipts[i] for i in range(len(records))]

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`; see `acked.abc.RemovesGroups`.

        Kafka deletes a group with everything it has committed. So one that has committed in other
        topics, too, is left as it is, with `LayerError`: name all its topics.
        """
        self._opened()
        await forget_group(self._options, topics, group)
        self._groups.pop(group, None)

    def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what nobody has removed of `topic`; see `acked.abc.BrowsableLayer`."""
        return self._browser.browse(topic)

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Note that the records at `positions` are removed; see `acked.abc.BrowsableLayer`.

        Groups that consume the topic still get them.
        """
        return await self._browser.remove(topic, positions)

    async def check(self) -> Sequence[Finding]:
        """Read what the brokers, and the topics used so far, are set to; see `Inspectable`."""
        topics = self._opened().topics
        await topics.refresh()
        settings = await read_settings(self._options, topics.known)
        retention = retention_of(settings)
        overdue = 0
        groups = {group: tuple(names) for group, names in self._groups.items()}
        for group, names in groups.items():  # one may join meanwhile
            places = topics.places(names)
            overdue += await count_overdue(self._options, group, places, retention)
        largest = self._options.max_payload + HEADERS
        return (
            *findings(settings, overdue=overdue, trimmed=self.trimmed, max_request=largest),
            *transport(self._options, settings.hosts),
        )

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[KafkaFeed]:
        """Join `group`; leaving commits what was settled, and gives back the rest at once."""
        del lease  # a membership has no end in time
        topics_there, choice = self._opened().topics, TopicChoice(topics)
        await topics_there.refresh()
        await topics_there.ensure(choice.names)
        self._groups.setdefault(group, set()).update(choice.names)
        async with self._joined(choice, group, in_flight, start) as feed:
            yield feed

    @asynccontextmanager
    async def consume_patterns(
        self, patterns: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[KafkaFeed]:
        """Join `group` for all topics that match, also new ones; see `acked.abc.AckPatternLayer`.

        A new one is found within some seconds, and read from its first record; so is one that was
        there and does not belong to what the group has consumed so far.
        """
        del lease
        async with self._joined(TopicChoice(patterns), group, in_flight, start) as feed:
            yield feed

    def matcher(self, pattern: str) -> Callable[[str], bool]:
        """Return what says whether a topic matches; see `acked.abc.AckPatternLayer`."""
        return matcher(pattern)

    @asynccontextmanager
    async def _joined(
        self, choice: TopicChoice, group: str, in_flight: int, start: Start
    ) -> AsyncGenerator[KafkaFeed]:
        publisher = self._opened()
        with self._instances.taken(group) as instance:

            async def join(owner: KafkaFeed, *, is_first: bool) -> Membership:
                membership = Membership(
                    *(self._options, choice, group, owner),
                    limit=self._limit,
                    instance=instance,
                    on_trimmed=self._count,
                )
                await membership.join(start, is_first=is_first)
                return membership

            feed = KafkaFeed(join, publisher.publish_dead_letters, in_flight)
            try:
                await feed.enter()
                yield feed
            finally:
                with anyio.CancelScope(shield=True):
                    await feed.leave()

    def _count(self, trimmed: int) -> None:
        self.trimmed += trimmed

    def _opened(self) -> KafkaPublisher:
        if self._publisher is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._publisher
