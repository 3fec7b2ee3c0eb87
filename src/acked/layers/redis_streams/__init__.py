"""Debts on Redis: streams and their consumer groups, shared by any number of processes.

**Semantics** — Ack-capable. A topic is a stream of that name, a group is its consumer group, and
whatever is not settled is in the group's pending list, kept by the server: no process has to live
for it. An entry is readable with any client (`body`, `id`, `content_type`, `timestamp`, `key`,
`h:name` for each header), and entries that another client added arrive too. Beside a stream
there are up to five keys for each group, named `acked:{stream}:group:...`: when what was given back
is due, a stream that wakes consumers, a note of who looked for ended leases last, and in the order
of keys which entries of a key are owed. What is published with a delay is in the stream at once,
with `acked-delay` (milliseconds) before its other fields, and each group gives it back until it is
due, by the server's clock; who reads the stream without a group, as with `XREAD`, sees it before.

**Ordering** — Each topic in the order in which the server took it, as long as nothing is
delivered again; consumers of one group share it. A busy topic does not keep a quiet one of the
same subscription waiting: each has its share of every read. With `ordered_by="key"` one message of
a key is leased in a group at a time, the earliest; what comes to wait for it costs nobody else.

**Acknowledgement** — Confirmed by the server, in any order, and fenced: a script settles only what
this consumer still owns with the same delivery count, so a late ack changes nothing for the next
holder (`LeaseLost`). The lease is the entry's idle time, and the holder's own `lease=` decides when
it counts as abandoned. Both this and a delay are by the server's wall clock: when that is set
forward, what is held may be another's before its time, and when it is set back, what waits for an
end waits for as much longer. Let the server's clock be slewed, not stepped. A settlement that
nobody answered is decided when it is tried again within the lease. `nack` gives back at once and
wakes a waiting consumer, of any process; its delay is kept by the server and survives the consumer.
`reject` copies to the dead letters and acks in one atomic step. `attempt` is the group's delivery
counter.

**Loses messages when** — The server loses them: `appendfsync everysec`, its usual setting, may lose
a second of what it confirmed, asynchronous replication what had not arrived at a failover. A stream
is trimmed, by `maxlen=` here or by anybody else (never by `keep_settled=`, which keeps all behind
what is not due yet): what a group had not settled is gone, reported as far as it had been delivered
before (`trimmed`, and a warning of the logger `acked.layers.redis_streams`). A stream is deleted or
the server emptied: consumers go on with what is there, from the beginning.

**Native handle** — `client`, the `redis.asyncio.Redis` of the layer, while it is open: it
answers bytes, retries nothing and has no timeout of its own. On a cluster it is the client of the
node that the URL names. Do not trim, `XACK` or `XCLAIM` by hand what a group holds.

**Requires** — Redis 6.2 or newer and `pip install "acked[redis]"` (redis-py 6 to 8); asyncio. With
`cluster=1` a cluster, whose nodes are found from the one in the URL. Then a subscription to topics
in several hash slots reads each slot on a connection of its own, and may hold leased, for a while,
as much again as it was asked for; dead letters in another slot are copied first, and the original
is acked after. While a slot moves, what is published to it fails and may be tried again; what a
dead master serves is told once, and ends a subscription after five minutes, while the topics of the
others go on. With `sentinel=NAME` the URL names a sentinel (which asks for no password), and the
master of that name is used, whichever server it is. Replicas are not read. Rights (ACL): the keys
of the topics and `acked:*`, and `+ping +xadd +xreadgroup +xack +xclaim +xpending +xgroup +xinfo
+xtrim +zadd +zrem +zrange +zrangebyscore +zscore +zcard +get +set +del +exists +time +eval
+evalsha`; for the order of keys `+xrange +hget +hset +hdel`; for a look into dead letters `+xrange
+xrevrange +xdel`; on a cluster `+cluster|slots`;
`+client|info +client|kill` let a cut reader be followed by the next at once; for `check()` `+info
+config|get +xlen +multi +discard`, which names what is missing.

Longer than 300 lines: a third says what the layer promises.
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from msgspec.structs import replace

from acked.errors import ConfigurationError, LayerError, hiding_arguments
from acked.layers._redis.client import Client, client_for, refuse_both
from acked.layers._redis.connection import Command
from acked.layers._redis.findings import (
    backlog,
    findings_for_streams,
    rights,
    settled,
    transport,
)
from acked.layers._redis.urls import NOWHERE, read_url, readable
from acked.layers._shared.runtime import consumer_name, require_asyncio
from acked.layers._shared.urls import number, switch, whole_number
from acked.layers.redis_streams._browsing import browse, remove
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._feed import RedisStreamsFeed
from acked.layers.redis_streams._publisher import publish, publish_once
from acked.layers.redis_streams._records import backlog_of, settled_of
from acked.layers.redis_streams._rights import check_version, commands_for
from acked.layers.redis_streams._tail import RedisStreamsTail
from acked.types import Capabilities, Finding, KeptRecord, Receipt, Record, Start

if TYPE_CHECKING:
    from redis.asyncio import Redis  # `_redis` says what to install where it is missing

__all__ = ("RedisStreamsLayer", "RedisStreamsTail")

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    last_chance=True,
    persistent=True,
    groups=True,
    competing=True,
    remove_group=True,
    browse=True,
    replay=True,
    batch_publish=True,
    coalesced_publish=True,
    publish_delay=True,
    publish_once=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    key_order=True,
    lag=True,
    order="total",
    lease="timer",
    max_payload=512 * 1024 * 1024,
    topic_pattern=r"(?!acked:\{)(?s:.+)",  # not the keys beside a stream
)


_SCHEMES: Final = {"redis-streams": "redis", "rediss-streams": "rediss"}
_OWN_OPTIONS: Final = frozenset(
    {"cluster", "sentinel", "maxlen", "keep_settled", "timeout", "connections"}
)


class RedisStreamsLayer:
    """Keeps messages in Redis streams until each group has settled them.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://` for TLS (with the query options
            `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`),
            or `unix://path`.
        maxlen: trim a stream to about so many entries whenever something is published to it.
            *This deletes what is not settled yet*; prefer `keep_settled`.
        keep_settled: delete entries that every group has settled once they are so many seconds
            old; what any group still owes is never deleted, and without groups nothing is. None
            keeps them: a stream is a log that others may read, and that a new group may replay.
        timeout: seconds within which the server must answer, else the connection counts as lost.
        connections: how many requests go on at the same time at most; each subscription has one
            connection more, to wait with; on a cluster one for each hash slot of its topics.
        cluster: the server is a node of a Redis Cluster, whose nodes are found from it.
        sentinel: the server is a sentinel, and this is what it calls the master.

    """

    @hiding_arguments
    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        maxlen: int | None = None,
        keep_settled: float | None = None,
        timeout: float = 10.0,
        connections: int = 16,
        cluster: bool = False,
        sentinel: str | None = None,
    ) -> None:
        self._way: Client | None = None
        self._url = NOWHERE
        read = read_url(url)
        del url  # what follows may raise
        self._url = readable(read)
        _check(maxlen=maxlen, timeout=timeout, connections=connections)
        if keep_settled is not None and not 0 <= keep_settled < math.inf:
            raise ConfigurationError(
                f"keep_settled is {keep_settled}; it must be seconds from 0 on, or None to keep all"
            )
        # The nodes of a cluster must not wait for one another.
        self.capabilities: Final = replace(CAPABILITIES, coalesced_publish=not cluster)
        self.trimmed: int = 0
        """How many messages owed to a group its consumers found trimmed away, so lost."""
        self._consumed: set[str] = set()
        self._has_kept_order = False
        self._maxlen = maxlen
        self._trim: Command = ()
        if maxlen is not None:
            self._trim = (b"MAXLEN", b"~", b"%d" % maxlen)
        self._keep_settled = keep_settled
        self._timeout = timeout
        self._connections = connections
        refuse_both(is_cluster=cluster, sentinel=sentinel, url=self._url)
        self._is_cluster = cluster
        self._sentinel = sentinel

    def __repr__(self) -> str:
        state = "closed" if self._way is None else "open"
        return f"<RedisStreamsLayer {self._url.shown}, {state}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "RedisStreamsLayer":
        """Return a layer for `redis-streams://user:password@host:port/db?maxlen=100000`.

        `rediss-streams://` speaks TLS. Options: those of the class.
        """
        read = read_url(url, _SCHEMES)
        del url  # what follows may raise
        plain = readable(read, _OWN_OPTIONS)
        options = plain.options
        maxlen, keep_settled = options.get("maxlen"), options.get("keep_settled")
        return cls(
            plain.text,
            maxlen=None if maxlen is None else whole_number("maxlen", maxlen),
            keep_settled=None if keep_settled is None else number("keep_settled", keep_settled),
            timeout=number("timeout", options.get("timeout", "10")),
            connections=whole_number("connections", options.get("connections", "16")),
            cluster=switch("cluster", options.get("cluster", "0")),
            sentinel=options.get("sentinel"),
        )

    @property
    def client(self) -> "Redis":
        """The `redis.asyncio.Redis` of this layer; raises `LayerError` while it is closed."""
        return self._open_way().client

    async def __aenter__(self) -> Self:
        """Connect, and make sure that the server is one that can do it."""
        require_asyncio("redis-py")
        way = client_for(
            self._url,
            is_cluster=self._is_cluster,
            sentinel=self._sentinel,
            timeout=self._timeout,
            connections=self._connections,
        )
        try:
            await way.ask(b"PING")
            await check_version(way)
        except BaseException:
            await way.aclose()
            raise
        self._way = way
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pooled connections."""
        way, self._way = self._way, None
        if way is not None:
            await way.aclose()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Append `records`, in one request; what was not answered may be there all the same."""
        return await publish(self._open_way(), records, self._trim)

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        """Append `record` and its note in one step; see `acked.abc.PublishesOnce`."""
        way = self._open_way()
        return await publish_once(way, record, self._trim, schedule, moment, begins=begins)

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`, one after the other; see `acked.abc.RemovesGroups`."""
        way = self._open_way()
        seat = ConsumerState(
            dict.fromkeys(topics), group, consumer_name(), lease=0.0, on_trimmed=self._count
        )
        await seat.remove(way.run)

    def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what `topic` keeps; see `acked.abc.BrowsableLayer`."""
        return browse(self._open_way(), topic)

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Delete the entries at `positions`; see `acked.abc.BrowsableLayer`."""
        return await remove(self._open_way(), topic, positions)

    async def check(self) -> Sequence[Finding]:
        """Ask how the server keeps what it confirmed; see `acked.abc.Inspectable`."""
        way = self._open_way()
        asks = [server.ask for server in await way.servers()]
        found = await findings_for_streams(asks, is_cluster=self._is_cluster)
        streams = [topic.encode() for topic in sorted(self._consumed)]
        groups = await way.exchange([(b"XINFO", b"GROUPS", key) for key in streams])
        lengths = await way.exchange([(b"XLEN", key) for key in streams])
        pairs = zip(lengths, groups, strict=True)
        topic = min(self._consumed, default="acked-check")
        server = await way.home(topic.encode())
        return [
            *found,
            *transport(self._url),
            await rights(server, commands_for(topic, in_key_order=self._has_kept_order)),
            backlog(self._maxlen, [backlog_of(reply) for reply in groups]),
            settled(self._keep_settled, [settled_of(*pair) for pair in pairs]),
        ]

    def consume(
        self,
        topics: Sequence[str],
        group: str,
        *,
        in_flight: int,  # noqa: ARG002 - nothing is fetched ahead of what `receive` asks for
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[RedisStreamsFeed]:
        """Join `group`, creating it where it does not exist; leaving gives back what is held."""
        return self._consuming(topics, group, start, lease=lease)

    def consume_in_key_order(
        self,
        topics: Sequence[str],
        group: str,
        /,
        *,
        in_flight: int,  # noqa: ARG002 - as above
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[RedisStreamsFeed]:
        """Join `group` as `consume` does, for each key in its order; see `KeyOrderedLayer`."""
        return self._consuming(topics, group, start, lease=lease, in_key_order=True)

    @asynccontextmanager
    async def _consuming(
        self,
        topics: Sequence[str],
        group: str,
        start: Start,
        *,
        lease: float,
        in_key_order: bool = False,
    ) -> AsyncGenerator[RedisStreamsFeed]:
        way = self._open_way()
        seat = ConsumerState(
            dict.fromkeys(topics),
            group,
            consumer_name(),
            lease=lease,
            on_trimmed=self._count,
            keep_settled=self._keep_settled,
            in_key_order=in_key_order,
        )
        await seat.join(way.run, start)
        self._consumed.update(topics)
        self._has_kept_order |= in_key_order
        feed = RedisStreamsFeed(way, seat)
        try:
            yield feed
        finally:
            await feed.leave()

    def _open_way(self) -> Client:
        if self._way is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._way

    def _count(self, trimmed: int) -> None:
        self.trimmed += trimmed


def _check(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigurationError(f"{name} is {value}; it must be above 0, and finite")
