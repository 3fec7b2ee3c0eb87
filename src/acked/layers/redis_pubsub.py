r"""News over Redis PUBLISH and SUBSCRIBE: whoever listens at the moment gets it.

**Semantics** — Fire-and-forget. All subscriptions of a layer share one connection that listens;
entering one returns after the server has confirmed its topics. A lost connection is made again
(`on_loss="reconnect"`) and every subscription is told by a gap, or each of them gets
`ConnectionLost` (`on_loss="raise"`). A connection that is silent for `heartbeat` seconds after a
question counts as lost. A body without key and headers travels as it is, so that any Redis client
can publish and subscribe; then nothing else travels: the receiver makes up an id, its timestamp is
that of the arrival, its content type `application/octet-stream`. With a key or headers a message
travels in an envelope with all of it: `\x00acked\x001`, four bytes with the length of a JSON
object (big-endian), that object, the body.

**Ordering** — Every subscription gets the records in the order in which the server took them,
topics mixed.

**Acknowledgement** — None: a message has no `ack()`. Use `redis_streams` for debts.

**Loses messages when** — Nobody listens; the connection is lost (an uncounted gap); a subscription
is slower than its overflow policy allows (a counted gap). Nobody can hold back who publishes to
Redis: a subscription with `Overflow.BLOCK` lets 32 MiB more wait in the layer, then it misses
messages too (a counted gap), and no other subscription waits for it. The server itself cuts off
whoever leaves 32 MiB unread (`client-output-buffer-limit pubsub`), hence also everybody who is
sent a message larger than that: a lost connection.

**Native handle** — `layer.client`, a `redis.asyncio.Redis` with connections of its own, from
entering the layer to leaving it. It does not retry, and times out nothing. The URL's database
matters to it alone: PUBLISH reaches listeners of all databases.

**Requires** — `acked[redis]`; asyncio (redis-py does not run on trio); one Redis server (tried with
7.0). No patterns, no sharded channels (SPUBLISH), no discovery of a cluster or by a sentinel.
"""

import itertools
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Literal, Self, cast

import anyio
from redis.asyncio import Redis

from acked.abc import Sink
from acked.errors import (
    ConfigurationError,
    LayerError,
    MessageTooLarge,
    PublishFailed,
)
from acked.layers._kit import require_asyncio, url_options
from acked.layers._redis_pubsub_client import DRIVER_OPTIONS, Server, address_of, split_url
from acked.layers._redis_pubsub_envelope import packed
from acked.layers._redis_pubsub_listeners import Listener, Switchboard
from acked.types import Capabilities, Record

__all__ = ("RedisPubSubLayer",)

MAX_PAYLOAD: Final = 512 * 1024 * 1024
"""Redis' limit of one string (`proto-max-bulk-len`)."""

CAPABILITIES: Final = Capabilities(
    batch_publish=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    lossy=True,
    order="total",
    max_payload=MAX_PAYLOAD,
)

OPTIONS: Final = frozenset({"heartbeat", "on_loss", "timeout"})
SCHEMES: Final = {"redis-pubsub": "redis", "rediss-pubsub": "rediss"}


class RedisPubSubLayer:
    """Carries news over the Redis server at `url`; durations are seconds.

    `on_loss` says what a lost connection is to those who listen: a gap ("reconnect") or the end
    ("raise"). `heartbeat` bounds for how long a dead connection can pass for a quiet one: twice
    that. `timeout` bounds connecting, confirming a subscription, and publishing.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        on_loss: Literal["reconnect", "raise"] = "reconnect",
        heartbeat: float = 10.0,
        timeout: float = 30.0,
    ) -> None:
        self._url, strange = split_url(url)
        if strange:
            raise ConfigurationError(
                f"unknown option {min(strange)!r} in the Redis URL; known options: "
                f"{', '.join(sorted(DRIVER_OPTIONS))}"
            )
        if on_loss not in {"reconnect", "raise"}:
            raise ConfigurationError(f"on_loss={on_loss!r}: choose 'reconnect' or 'raise'")
        if heartbeat <= 0 or timeout <= 0:
            raise ConfigurationError("heartbeat= and timeout= need to be above 0 seconds")
        self.capabilities: Final = CAPABILITIES
        self._reconnects = on_loss == "reconnect"
        self._heartbeat = heartbeat
        self._timeout = timeout
        self._server: Server | None = None
        self._switchboard: Switchboard | None = None

    def __repr__(self) -> str:
        topics = sorted(self._switchboard.topics) if self._switchboard else []
        listens = ", ".join(map(repr, topics)) or "nothing"
        return f"<RedisPubSubLayer at {address_of(self._url)}, listens to: {listens}>"

    @classmethod
    def from_url(cls, url: str) -> "RedisPubSubLayer":
        """Return a layer for `redis-pubsub://user:password@host:port/db`, `rediss-` over TLS.

        Options: `on_loss`, `heartbeat`, `timeout`, and redis-py's `client_name` and `ssl_...`.
        """
        scheme, colon, rest = url.partition(":")
        plain, options = split_url(f"{SCHEMES.get(scheme, scheme)}{colon}{rest}")
        url_options(url, OPTIONS | DRIVER_OPTIONS)
        on_loss = cast("Literal['reconnect', 'raise']", options.get("on_loss", "reconnect"))
        return cls(
            plain,
            on_loss=on_loss,
            heartbeat=_seconds("heartbeat", options.get("heartbeat", "10")),
            timeout=_seconds("timeout", options.get("timeout", "30")),
        )

    @property
    def client(self) -> "Redis":
        """The client for whatever else Redis can do. Raises `LayerError` while not entered."""
        return self._entered().client

    async def __aenter__(self) -> Self:
        """Connect once and ask for an answer; listening connects when somebody listens."""
        require_asyncio("redis-py")
        server = Server(self._url, timeout=self._timeout)
        try:
            await server.check()
        except BaseException:
            await server.aclose()
            raise
        name, numbers = uuid.uuid4().hex, itertools.count()
        self._server = server
        self._switchboard = Switchboard(
            server.dial,
            server.lost,
            heartbeat=self._heartbeat,
            reconnects=self._reconnects,
            new_id=lambda: f"{name}-{next(numbers)}",
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection, at once."""
        server, self._server = self._server, None
        switchboard, self._switchboard = self._switchboard, None
        if switchboard is not None:
            await switchboard.aclose()
        if server is not None:
            await server.aclose()

    async def publish(self, records: Sequence[Record]) -> None:
        """Send `records` in one request; return when the server has answered for each.

        Raises `PublishFailed`: `indeterminate` if the answer is missing, for then Redis may have
        passed the message on.
        """
        if not records:
            return
        server = self._entered()
        payloads = [packed(record) for record in records]
        large = {
            number: MessageTooLarge(record.topic, len(payload), MAX_PAYLOAD)
            for number, (record, payload) in enumerate(zip(records, payloads, strict=True))
            if len(payload) > MAX_PAYLOAD
        }
        if large:
            raise PublishFailed("too large with their headers", large, indeterminate=False)
        commands = [
            (b"PUBLISH", record.topic.encode(), payload)
            for record, payload in zip(records, payloads, strict=True)
        ]
        await self._send(server, commands)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed everything published to `topics` into `sink` for as long as this is entered.

        Raises `ConnectionLost` if the server cannot be reached now, `LayerError` if it refuses.
        """
        self._entered()
        switchboard = cast("Switchboard", self._switchboard)
        listener = Listener(sink)
        try:
            await switchboard.join(listener, topics, self._timeout)
            yield
        finally:
            switchboard.leave(listener, topics)
            await listener.aclose()

    async def _send(self, server: Server, commands: Sequence[tuple[bytes, ...]]) -> None:
        unknown = server.lost("it broke before the answer")
        answers: list[Exception | None] = [unknown] * len(commands)
        sent = False
        try:
            with server.translated():
                with anyio.fail_after(self._timeout):
                    async with server.connection() as connection:
                        sent = True
                        await server.ask(connection, commands, answers)
        except LayerError as error:
            failures = _failures([error if one is unknown else one for one in answers])
            raise PublishFailed(str(error), failures, indeterminate=sent) from error
        failures = _failures(answers)
        if failures:
            first = next(iter(failures.values()))
            words = f"Redis at {server.address} refused {len(failures)} of {len(commands)}: {first}"
            raise PublishFailed(words, failures, indeterminate=False)

    def _entered(self) -> Server:
        if self._server is None:
            raise LayerError("this layer is not connected; enter it first: async with layer")
        return self._server


def _failures(answers: Sequence[Exception | None]) -> dict[int, Exception]:
    return {number: error for number, error in enumerate(answers) if error is not None}


def _seconds(name: str, words: str) -> float:
    try:
        return float(words)
    except ValueError:
        raise ConfigurationError(f"{name}={words!r} is no number of seconds") from None
