"""Debts on Redis: streams and their consumer groups, shared by any number of processes.

**Semantics** — Ack-capable. A topic is a stream of that name, a group is its consumer group, and
whatever is not settled is in the group's pending list, kept by the server: no process has to live
for it. An entry is readable with any client (`body`, `id`, `content_type`, `timestamp`, `key`,
`h:name` for each header), and entries that another client added arrive too. Beside a stream
there are up to three small keys for each group, named `acked:{stream}:group:...`: when what was
given back is due, a stream that wakes consumers, and a note of who looked for ended leases last.

**Ordering** — Each topic in the order in which the server took it, as long as nothing is
delivered again; consumers of one group share it. A busy topic does not keep a quiet one of the
same subscription waiting: each has its share of every read.

**Acknowledgement** — Confirmed by the server, in any order, and fenced: a script settles only
what this consumer still owns with the same delivery count, so a late ack changes nothing for the
next holder (`LeaseLost`). The lease is the entry's idle time; let all consumers of a group use the
same `lease=`, since the shortest one decides when something counts as abandoned. `nack` gives back
at once and wakes a waiting consumer, of any process; its delay is kept by the server and survives
the consumer. `reject` copies to the dead letters and acks in one atomic step. `attempt` is the
group's delivery counter.

**Loses messages when** — The server loses them: `appendfsync everysec`, its usual setting, may
lose a second of what it confirmed, asynchronous replication what had not arrived at a failover.
A stream is trimmed, by `maxlen=` here or by anybody else: what a group had not settled is
gone, reported as far as it had been delivered before (`trimmed`, and a warning of the logger
`acked.redis_streams`). A stream is deleted or the server emptied: consumers go on with what is
there, from the beginning.

**Native handle** — `client`, the `redis.asyncio.Redis` of the layer, while it is open: it
answers bytes, retries nothing and has no timeout of its own. On a cluster it is the client of the
node that the URL names. Do not trim, `XACK` or `XCLAIM` by hand what a group holds.

**Requires** — Redis 6.2 or newer and `pip install "acked[redis]"` (redis-py 6 to 8); asyncio.
With `cluster=1` a cluster, whose nodes are found from the one in the URL. Then a subscription to
topics in several hash slots reads each slot on a connection of its own, and may hold leased, for a
while, as much again as it was asked for; dead letters in another slot are copied first, and the
original is acked after. While a slot moves, what is published to it fails and may be tried again;
a master that does not answer delays the topics of the others a little. Replicas and sentinels are
not used.
"""

try:
    import redis  # noqa: F401
except ImportError as error:
    raise ImportError(
        "acked.layers.redis_streams needs redis-py: pip install 'acked[redis]'", name=error.name
    ) from error

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import Redis

from acked.errors import (
    ConfigurationError,
    LayerError,
    PublishFailed,
)
from acked.layers._redis.cluster import Client, Cluster
from acked.layers._redis.connection import Command, Connection, is_unanswered
from acked.layers._redis.findings import backlog, findings_for_streams
from acked.layers._shared.options import (
    consumer_name,
    number,
    require_asyncio,
    switch,
    url_options,
    whole_number,
    without_credentials,
)
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._feed import RedisStreamsFeed
from acked.layers.redis_streams._records import backlog_of, fields_of
from acked.types import Capabilities, Finding, Receipt, Record, Start

__all__ = ("RedisStreamsLayer",)

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    persistent=True,
    groups=True,
    competing=True,
    remove_group=True,
    replay=True,
    batch_publish=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    lag=True,
    order="total",
    lease="timer",
    max_payload=512 * 1024 * 1024,
    topic_pattern=r"(?!acked:\{)(?s:.+)",  # not the keys beside a stream
)

RECORDS_IN_A_REQUEST: Final = 1000
"""A larger publish is several requests, one after the other: each has a deadline of its own."""
OLDEST_SERVER: Final = (6, 2)

_SCHEMES: Final = {"redis-streams": "redis", "rediss-streams": "rediss"}
_OWN_OPTIONS: Final = frozenset({"cluster", "maxlen", "timeout", "connections"})
_TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
)


class RedisStreamsLayer:
    """Keeps messages in Redis streams until each group has settled them.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://` for TLS (with the query options
            `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`),
            or `unix://path`.
        maxlen: trim a stream to about so many entries whenever something is published to it.
            *This deletes what is not settled yet*; without it nothing is ever deleted.
        timeout: seconds within which the server must answer, else the connection counts as lost.
        connections: how many requests go on at the same time at most; each subscription has one
            connection more, to wait with; on a cluster one for each hash slot of its topics.
        cluster: the server is a node of a Redis Cluster, whose nodes are found from it.

    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        maxlen: int | None = None,
        timeout: float = 10.0,
        connections: int = 16,
        cluster: bool = False,
    ) -> None:
        _check(url, maxlen, timeout, connections)
        self.capabilities: Final = CAPABILITIES
        self.trimmed: int = 0
        """How many messages owed to a group its consumers found trimmed away, so lost."""
        self._url = url
        self._consumed: set[str] = set()
        self._maxlen = maxlen
        self._trim: Command = ()
        if maxlen is not None:
            self._trim = (b"MAXLEN", b"~", b"%d" % maxlen)
        self._timeout = timeout
        self._connections = connections
        self._is_cluster = cluster
        self._way: Client | None = None

    def __repr__(self) -> str:
        state = "closed" if self._way is None else "open"
        return f"<RedisStreamsLayer {without_credentials(self._url)}, {state}>"

    @classmethod
    def from_url(cls, url: str) -> "RedisStreamsLayer":
        """Return a layer for `redis-streams://user:password@host:port/db?maxlen=100000`.

        `rediss-streams://` speaks TLS. Options: those of the class.
        """
        options = url_options(url, _OWN_OPTIONS | _TLS_OPTIONS)
        parts = urlsplit(url)
        tls = urlencode({name: options[name] for name in sorted(options.keys() & _TLS_OPTIONS)})
        plain = parts._replace(scheme=_SCHEMES.get(parts.scheme, parts.scheme), query=tls).geturl()
        maxlen = options.get("maxlen")
        return cls(
            plain,
            maxlen=None if maxlen is None else whole_number("maxlen", maxlen),
            timeout=number("timeout", options.get("timeout", "10")),
            connections=whole_number("connections", options.get("connections", "16")),
            cluster=switch("cluster", options.get("cluster", "0")),
        )

    @property
    def client(self) -> Redis:
        """The `redis.asyncio.Redis` of this layer; raises `LayerError` while it is closed."""
        return self._open_way().client

    async def __aenter__(self) -> Self:
        """Connect, and make sure that the server is one that can do it."""
        require_asyncio("redis-py")
        kind = Cluster if self._is_cluster else Connection
        way = kind(self._url, timeout=self._timeout, connections=self._connections)
        try:
            await way.ask(b"PING")
            await _check_version(way)
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
        commands = [self._addition(record) for record in records]
        replies, indeterminate = await _send(self._open_way(), commands)
        receipts: list[Receipt] = []
        failures: dict[int, Exception] = {}
        for i, (record, reply) in enumerate(zip(records, replies, strict=True)):
            if isinstance(reply, bytes):
                receipts.append(Receipt(record.id, record.topic, reply.decode()))
            else:
                failures[i] = _failure(reply)
        if failures:
            raise _publish_failed(failures, len(records), indeterminate=indeterminate)
        return receipts

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`, one after the other; see `acked.abc.RemovesGroups`."""
        way = self._open_way()
        seat = ConsumerState(
            dict.fromkeys(topics), group, consumer_name(), lease=0.0, on_trimmed=self._count
        )
        await seat.remove(way.run)

    async def check(self) -> Sequence[Finding]:
        """Ask how the server keeps what it confirmed; see `acked.abc.Inspectable`."""
        way = self._open_way()
        asks = [server.ask for server in await way.servers()]
        found = await findings_for_streams(asks, is_cluster=self._is_cluster)
        streams = [topic.encode() for topic in sorted(self._consumed)]
        replies = await way.exchange([(b"XINFO", b"GROUPS", key) for key in streams])
        return [*found, backlog(self._maxlen, [backlog_of(reply) for reply in replies])]

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[RedisStreamsFeed]:
        """Join `group`, creating it where it does not exist; leaving gives back what is held."""
        del in_flight  # nothing is fetched ahead of what `receive` asks for
        way = self._open_way()
        seat = ConsumerState(
            dict.fromkeys(topics), group, consumer_name(), lease=lease, on_trimmed=self._count
        )
        await seat.join(way.run, start)
        self._consumed.update(topics)
        feed = RedisStreamsFeed(way, seat)
        try:
            yield feed
        finally:
            await feed.leave()

    def _open_way(self) -> Client:
        if self._way is None:
            raise LayerError(f"{self!r} is not open; use it within `async with`")
        return self._way

    def _addition(self, record: Record) -> Command:
        return (b"XADD", record.topic.encode(), *self._trim, b"*", *fields_of(record))

    def _count(self, trimmed: int) -> None:
        self.trimmed += trimmed


def _check(url: str, maxlen: int | None, timeout: float, connections: int) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ConfigurationError(
            f"{without_credentials(url)} is no URL of Redis; use redis://, rediss:// or unix://"
        )
    unknown = sorted({name for name, _ in parse_qsl(parts.query)} - _TLS_OPTIONS - {"db"})
    if unknown:
        raise ConfigurationError(
            f"option {unknown[0]!r} in {without_credentials(url)} cannot be set in the URL"
        )
    for name, value in (("maxlen", maxlen), ("timeout", timeout), ("connections", connections)):
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} is {value}; it must be above 0")


async def _check_version(way: Client) -> None:
    """Raise `LayerError` for a server that is too old; where INFO is forbidden to us, trust."""
    (info,) = await way.exchange([(b"INFO", b"server")])
    found = re.search(rb"redis_version:(\d+)\.(\d+)", info) if isinstance(info, bytes) else None
    if found and (int(found[1]), int(found[2])) < OLDEST_SERVER:
        raise LayerError(
            f"Redis at {way.where} is version {found[0].partition(b':')[2].decode()}; its "
            "consumer groups can do what is needed from 6.2 on: use a newer server"
        )


async def _send(way: Client, commands: Sequence[Command]) -> tuple[list[object], bool]:
    """Return a reply for each command, and whether any may have worked without an answer.

    After a lost connection nothing more is sent: what comes later must not overtake.
    """
    replies: list[object] = []
    for start in range(0, len(commands), RECORDS_IN_A_REQUEST):
        try:
            replies += await way.exchange(commands[start : start + RECORDS_IN_A_REQUEST])
        except LayerError as error:
            return [*replies, *[error] * (len(commands) - start)], False
        lost = next((reply for reply in replies[start:] if is_unanswered(reply)), None)
        if lost is not None:
            return [*replies, *[lost] * (len(commands) - len(replies))], True
    return replies, False


def _failure(reply: object) -> Exception:
    return reply if isinstance(reply, LayerError) else LayerError("XADD was not answered by an id")


def _publish_failed(
    failures: dict[int, Exception], count: int, *, indeterminate: bool
) -> PublishFailed:
    first = next(iter(failures.values()))
    words = f"{len(failures)} of {count} record(s) were not accepted: {first}"
    if indeterminate:
        words += "; those that were sent may have been accepted all the same"
    return PublishFailed(words, failures, indeterminate=indeterminate)
