r"""News over Redis PUBLISH and SUBSCRIBE: whoever listens at the moment gets it.

**Semantics** — Fire-and-forget. All subscriptions of a layer share one connection that listens;
entering one returns after the server has confirmed its topics or patterns. What matches several
patterns of a subscription arrives once; a channel's name that is no UTF-8 arrives with surrogate
escapes. A lost connection is made again
(`on_loss="reconnect"`) and every subscription is told by a gap, or each of them gets
`ConnectionLost` (`on_loss="raise"`). A connection that is silent for `heartbeat` seconds after a
question counts as lost. A body without key and headers travels as it is, so that any Redis client
can publish and subscribe; then nothing else travels: the receiver makes up an id, its timestamp is
that of the arrival, its content type `application/octet-stream`. With a key or headers a message
travels in an envelope with all of it: `\x00acked\x001`, four bytes with the length of a JSON
object (big-endian), that object, the body.

**Ordering** — Every subscription gets the records in the order in which the server took them,
topics mixed; with `sharded=1` this holds within a topic, and among those of one hash slot.

**Acknowledgement** — None: a message has no `ack()`. Use `redis_streams` for debts.

**Loses messages when** — Nobody listens; the connection is lost (an uncounted gap); a subscription
is slower than its overflow policy allows (a counted gap). Nobody can hold back who publishes to
Redis: a subscription with `Overflow.BLOCK` lets 32 MiB more wait in the layer, then it misses
messages too (a counted gap), and no other subscription waits for it. The server itself cuts off
whoever leaves 32 MiB unread (`client-output-buffer-limit pubsub`), hence also everybody who is
sent a message larger than that: a lost connection. In a cluster, a node that the others do not
reach passes on what is published to itself alone, and nobody is told.

**Native handle** — `layer.client`, a `redis.asyncio.Redis` with connections of its own, from
entering the layer to leaving it. It does not retry, and times out nothing. The URL's database
matters to it alone: PUBLISH reaches listeners of all databases. On a cluster it is the client of
the node that the URL names.

**Requires** — `acked[redis]`; asyncio (redis-py does not run on trio); Redis (tried with 7.0), one
server or, with `cluster=1`, a cluster: any node that answers serves. `sharded=1` (Redis 7, a
cluster) spreads topics over its nodes by SPUBLISH, listens on one connection for each hash slot,
and has no patterns. With `sentinel=NAME` the URL names a sentinel (which asks for no password), and
the master of that name serves. Rights (ACL): the channels, and `+ping +publish +subscribe
+psubscribe +unsubscribe +punsubscribe`, with `sharded=1` `+ping +spublish +ssubscribe
+sunsubscribe`; on a cluster `+cluster|slots`; for `check()` `+info +config|get +multi +discard`.
"""

import itertools
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self, cast

from msgspec import structs

from acked.abc import Sink
from acked.errors import CapabilityError, ConfigurationError, LayerError, hiding_arguments
from acked.layers._redis.client import Client, client_for, refuse_both
from acked.layers._redis.client_url import url_of
from acked.layers._redis.connection import Command
from acked.layers._redis.findings import findings_for_news, rights, transport
from acked.layers._redis.urls import NOWHERE, read_url, readable
from acked.layers._shared.reconnect import OnLoss, reconnects
from acked.layers._shared.runtime import require_asyncio
from acked.layers._shared.urls import number, switch
from acked.layers.redis_pubsub._connection import NAMED, PATTERN, SHARDED
from acked.layers.redis_pubsub._publisher import MAX_PAYLOAD, publish
from acked.layers.redis_pubsub._subscriptions import SubscriptionManager
from acked.types import Capabilities, Finding, Record

if TYPE_CHECKING:
    from redis.asyncio import Redis  # `_redis` says what to install where it is missing

__all__ = ("RedisPubSubLayer", "url_of")

CAPABILITIES: Final = Capabilities(
    batch_publish=True,
    coalesced_publish=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    lossy=True,
    patterns=True,
    order="total",
    max_payload=MAX_PAYLOAD,
)

OPTIONS: Final = frozenset({"cluster", "heartbeat", "on_loss", "sentinel", "sharded", "timeout"})
PUBLISHING_CONNECTIONS: Final = 16
SCHEMES: Final = {"redis-pubsub": "redis", "rediss-pubsub": "rediss"}


class RedisPubSubLayer:
    """Carries news over the Redis server at `url`; durations are seconds.

    `on_loss` says what a lost connection is to those who listen: a gap ("reconnect") or the end
    ("raise"). `heartbeat` bounds for how long a dead connection can pass for a quiet one: twice
    that. `timeout` bounds connecting, confirming a subscription, and publishing. With `cluster` the
    server is a node of a Redis Cluster, and another one serves when it does not answer. `sharded`,
    which implies that, uses sharded channels: a message goes to the node of its topic's hash slot
    alone. They are other channels than those of the same names without it. With `sentinel` the
    server is a sentinel, and that is what it calls the master.
    """

    @hiding_arguments
    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        on_loss: OnLoss = "reconnect",
        heartbeat: float = 10.0,
        timeout: float = 30.0,
        cluster: bool = False,
        sharded: bool = False,
        sentinel: str | None = None,
    ) -> None:
        self._inside: _Inside | None = None
        self._url = NOWHERE
        read = read_url(url)
        del url  # what follows may raise
        self._url = readable(read)
        self._reconnects = reconnects(on_loss)
        if heartbeat <= 0 or timeout <= 0:
            raise ConfigurationError("heartbeat= and timeout= need to be above 0 seconds")
        # The nodes of a cluster must not wait for one another.
        coalesced = not (cluster or sharded)
        self.capabilities: Final = structs.replace(
            CAPABILITIES, patterns=not sharded, coalesced_publish=coalesced
        )
        self._heartbeat = heartbeat
        self._timeout = timeout
        self._is_cluster = cluster or sharded
        self._is_sharded = sharded
        refuse_both(is_cluster=self._is_cluster, sentinel=sentinel, url=self._url)
        self._sentinel = sentinel

    def __repr__(self) -> str:
        topics = sorted(self._inside.hub.topics) if self._inside else []
        listens = ", ".join(map(repr, topics)) or "nothing"
        return f"<RedisPubSubLayer at {self._url.where}, listens to: {listens}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "RedisPubSubLayer":
        """Return a layer for `redis-pubsub://user:password@host:port/db`, `rediss-` over TLS.

        Options: `on_loss`, `heartbeat`, `timeout`, `cluster` and `sharded` (0 or 1), and redis-py's
        `client_name` and `ssl_...`.
        """
        read = read_url(url, SCHEMES)
        del url  # what follows may raise
        plain = readable(read, OPTIONS)
        options = plain.options
        on_loss = cast("OnLoss", options.get("on_loss", "reconnect"))
        return cls(
            plain.text,
            on_loss=on_loss,
            heartbeat=number("heartbeat", options.get("heartbeat", "10")),
            timeout=number("timeout", options.get("timeout", "30")),
            cluster=switch("cluster", options.get("cluster", "0")),
            sharded=switch("sharded", options.get("sharded", "0")),
            sentinel=options.get("sentinel"),
        )

    @property
    def client(self) -> "Redis":
        """The client for whatever else Redis can do. Raises `LayerError` while not entered."""
        return self._entered().client.client

    async def __aenter__(self) -> Self:
        """Connect once and ask for an answer; listening connects when somebody listens."""
        require_asyncio("redis-py")
        client = client_for(
            self._url,
            is_cluster=self._is_cluster,
            sentinel=self._sentinel,
            timeout=self._timeout,
            connections=PUBLISHING_CONNECTIONS,
        )
        try:
            await client.ask(b"PING")
        except BaseException:
            await client.aclose()
            raise
        name, numbers = uuid.uuid4().hex, itertools.count()
        hub = SubscriptionManager(
            client,
            timeout=self._timeout,
            heartbeat=self._heartbeat,
            reconnects=self._reconnects,
            new_id=lambda: f"{name}-{next(numbers)}",
        )
        self._inside = _Inside(client, hub)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection, at once."""
        inside, self._inside = self._inside, None
        if inside is not None:
            await inside.hub.aclose()
            await inside.client.aclose()

    async def publish(self, records: Sequence[Record]) -> None:
        """Send `records` in one request; return when the server has answered for each.

        Raises `PublishFailed`: `indeterminate` if the answer is missing, for then Redis may have
        passed the message on. After a loss, who listens to this layer is waited for, shortly.
        """
        if records:
            await self._entered().hub.hear()
            await publish(self._entered().client, records, is_sharded=self._is_sharded)

    async def check(self) -> Sequence[Finding]:
        """Ask for its limits and its version; see `acked.abc.Inspectable`."""
        inside = self._entered()
        asks = [server.ask for server in await inside.client.servers()]
        found = await findings_for_news(asks, is_cluster=self._is_cluster)
        channel = min(inside.hub.topics, default="acked-check").encode()
        server = await inside.client.home(channel)
        may = await rights(server, self._commands_for(channel))
        return [*found, *transport(self._url), may]

    def listen(self, topics: Sequence[str], sink: Sink) -> AbstractAsyncContextManager[None]:
        """Feed everything published to `topics` into `sink` for as long as this is entered.

        Raises `ConnectionLost` if the server cannot be reached now, `LayerError` if it refuses.
        """
        kind = SHARDED if self._is_sharded else NAMED
        return self._entered().hub.listening(kind, topics, sink)

    def listen_patterns(
        self, patterns: Sequence[str], sink: Sink
    ) -> AbstractAsyncContextManager[None]:
        """Feed what is published to any topic that matches into `sink`; see `PatternLayer`.

        Raises `CapabilityError` with `sharded=True`: Redis has no patterns of sharded channels.
        """
        if self._is_sharded:
            raise CapabilityError(
                "sharded channels have no patterns; subscribe by name, or leave sharded out"
            )
        return self._entered().hub.listening(PATTERN, patterns, sink)

    def _commands_for(self, channel: bytes) -> Sequence[Command]:
        """Return every command for `channel`: what the server's ACL has to allow."""
        if self._is_sharded:
            return [
                (b"SPUBLISH", channel, b""),
                (b"SSUBSCRIBE", channel),
                (b"SUNSUBSCRIBE", channel),
            ]
        subscribing = [(word, channel) for word in (b"SUBSCRIBE", b"UNSUBSCRIBE")]
        # Not PSUBSCRIBE: an ACL allows a pattern only by its very words.
        return [(b"PUBLISH", channel, b""), *subscribing, (b"PUNSUBSCRIBE", channel)]

    def _entered(self) -> "_Inside":
        if self._inside is None:
            raise LayerError("this layer is not connected; enter it first: async with layer")
        return self._inside


class _Inside(NamedTuple):
    """What a layer has while it is entered."""

    client: Client
    hub: SubscriptionManager
