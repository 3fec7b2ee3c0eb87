"""The seam to aiokafka, which has no types: its clients made, started and stopped, and asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar, cast

import anyio

from acked.errors import ConnectionLost
from acked.layers.kafka._errors import translated
from acked.layers.kafka._log_filter import hide_contents
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import (
    ConsumerClient,
    CoordinatorClient,
    ProducerClient,
    TopicPartition,
)
from acked.layers.kafka._secrets import see_refused_tokens, with_secret_of

__all__ = (
    "KNOWN_WITHIN",
    "SILENT",
    "Rebalances",
    "begin_sending",
    "connected",
    "coordinator_of",
    "end_of",
    "make_consumer",
    "make_producer",
    "partitions_of",
    "position_of",
    "started",
    "stopped",
    "topic_partition",
    "with_password_of",
    "within",
)

T = TypeVar("T")


class _Closing(Protocol):
    async def close(self) -> None:
        """Do what aiokafka's `close` does."""
        ...


class _RebalanceListener(Protocol):
    def register(self, subclass: type[object]) -> type[object]:
        """Do what aiokafka's `register` does."""
        ...


class _Aiokafka(Protocol):
    AIOKafkaConsumer: Callable[..., ConsumerClient]
    AIOKafkaProducer: Callable[..., ProducerClient]
    TopicPartition: Callable[[str, int], object]
    ConsumerRebalanceListener: _RebalanceListener


_aiokafka: Final = cast("_Aiokafka", import_module("aiokafka"))
_connection: Final = cast("Any", import_module("aiokafka.conn"))
hide_contents()
see_refused_tokens()
FRESH: Final = 5000
"""Milliseconds after which clients ask anew which partitions there are: a consumer is assigned none
when it joins while the brokers, just come back, name none; and topics are made anew with fewer."""
HEADERS: Final = 48_000
"""Bytes beside the body: a broker takes 1 MiB by default, headers and all."""
KNOWN_WITHIN: Final = 2.0
"""Seconds for a topic's metadata to arrive: a topic made a moment ago is known a moment later."""
AGAIN: Final = 0.1
"""Seconds between two tries."""
SILENT: Final = 5.0
"""Seconds for what is said when closing."""
AT_ONCE: Final = 1.0
"""Seconds for a request that was begun and that nobody needs any more."""


def make_producer(options: KafkaOptions, batch: int) -> ProducerClient:
    """Return an idempotent producer that waits for all replicas in sync.

    Its batches have at most `batch` bytes, or one record.
    """
    producer = _aiokafka.AIOKafkaProducer(
        **options.client(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=batch,
        max_request_size=options.max_payload + HEADERS,
        metadata_max_age_ms=FRESH,
    )
    with_password_of(producer.client, options)
    return producer


def with_password_of(client: object, options: KafkaOptions) -> None:
    """Let `client`, of aiokafka, ask for the password for each connection, if it may change."""
    if callable(options.password):
        with_secret_of(client, options.secret)


async def begin_sending(producer: ProducerClient) -> None:
    """Do the second half of aiokafka's `start`: it asks for the right to write."""
    await vars(producer)["_sender"].start()


def make_consumer(
    options: KafkaOptions,
    group: str | None,
    assignor: object | None = None,
    instance: str | None = None,
    *,
    linger: int = 500,
) -> ConsumerClient:
    """Return a consumer that commits nothing by itself and has joined nothing yet.

    A broker that has nothing for it answers after `linger` milliseconds, and nothing else of the
    same connection before that.
    """
    membership: dict[str, object] = {} if instance is None else {"group_instance_id": instance}
    if assignor is not None:
        membership["partition_assignment_strategy"] = (assignor,)
    session = round(options.session_timeout * 1000)
    consumer = _aiokafka.AIOKafkaConsumer(
        **options.client(),
        group_id=group,
        enable_auto_commit=False,
        # It tells us where the log has lost our position, and does not move on silently.
        auto_offset_reset="none",
        fetch_max_wait_ms=linger,
        isolation_level="read_committed" if options.read_committed else "read_uncommitted",
        session_timeout_ms=session,
        rebalance_timeout_ms=session,
        heartbeat_interval_ms=min(500, session // 3),
        metadata_max_age_ms=FRESH,
        **membership,
    )
    with_password_of(vars(consumer)["_client"], options)
    return consumer


def coordinator_of(consumer: ConsumerClient) -> CoordinatorClient:
    """Return the part of a started `consumer` that knows its membership; private to aiokafka."""
    return cast("CoordinatorClient", vars(consumer)["_coordinator"])


def topic_partition(place: TopicPartition) -> object:
    """Return `place` as aiokafka's own type, which it insists on."""
    return _aiokafka.TopicPartition(*place)


def end_of(consumer: ConsumerClient, place: TopicPartition) -> int | None:
    """Return where the log of `place` ends, as the last fetch told; private to aiokafka, too.

    With whatever hangs in transactions: the group has not had it yet.
    """
    state = _state_of(consumer, place)
    return None if state is None else state.highwater


async def partitions_of(
    consumer: ConsumerClient, topics: Sequence[str]
) -> Mapping[str, Iterable[int]]:
    """Ask which partitions `topics` have now; none for one that is not there.

    One that was made a moment ago is known a moment later: so it is asked for again, shortly.
    """
    client = vars(consumer)["_client"]
    given_up = asyncio.get_running_loop().time() + KNOWN_WITHIN
    await client.set_topics(topics)
    while True:
        found = {topic: tuple(consumer.partitions_for_topic(topic) or ()) for topic in topics}
        if all(found.values()) or asyncio.get_running_loop().time() > given_up:
            return found
        await asyncio.sleep(AGAIN)
        await client.force_metadata_update()


def position_of(consumer: ConsumerClient, place: TopicPartition) -> int | None:
    """Return the offset at which `place` is read next, None while it is not; private, too."""
    state = _state_of(consumer, place)
    return state.position if state is not None and state.has_valid_position else None


def _state_of(consumer: ConsumerClient, place: TopicPartition) -> Any | None:
    assignment = vars(consumer)["_subscription"].subscription.assignment
    partition = topic_partition(place)
    if assignment is None or partition not in assignment.tps:
        return None
    return assignment.state_value(partition)


async def within(seconds: float, awaitable: Awaitable[T], options: KafkaOptions, doing: str) -> T:
    """Await with a deadline, for aiokafka retries for ever; raise `LayerError` for any failure."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except Exception as error:
        raise translated(error, options, doing) from error


async def connected(
    client: ProducerClient | ConsumerClient,
    options: KafkaOptions,
    *,
    begin: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Start `client`, or only `begin`; where that fails or is cancelled, nothing stays open."""
    try:
        await started(begin or client.start, options)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await stopped(client)
        if isinstance(error, ConnectionLost) and (options.has_login or options.tls):
            await _say_who_was_refused(options)
        raise


async def started(start: Callable[[], Awaitable[None]], options: KafkaOptions) -> None:
    """Start a client, with a deadline.

    Race: where aiokafka is cancelled while it asks its first server, it forgets that connection.
    """
    starting = asyncio.ensure_future(start())
    try:
        await within(options.timeout, asyncio.shield(starting), options, "connecting")
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _ended(starting, AT_ONCE)
        raise


async def _say_who_was_refused(options: KafkaOptions) -> None:
    """Raise what one server has against our login or TLS, of which aiokafka only writes a log."""
    server, _, port = options.servers[0].rpartition(":")
    settings = options.client()
    del settings["bootstrap_servers"]
    try:
        async with asyncio.timeout(options.timeout):
            link = await _connection.create_conn(server, int(port), **settings)
        link.close()
    except Exception as error:
        raise translated(error, options, "connecting") from error


async def stopped(client: ProducerClient | ConsumerClient) -> None:
    """Say the last words of `client`, and close it; a broker that does not answer is left alone."""
    if await _ended(asyncio.ensure_future(client.stop()), SILENT):
        return
    # The rest of `stop`, which was given up.
    parts = [vars(client).get(name) for name in ("_fetcher", "_sender", "_client", "client")]
    closing = [cast("_Closing", part).close() for part in parts if part is not None]
    await asyncio.gather(*closing, return_exceptions=True)


async def _ended(task: "asyncio.Future[None]", seconds: float) -> bool:
    """Wait so long for `task`, then cancel it; return whether it did all that it was to do."""
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.wait({task})
    return not task.cancelled() and task.exception() is None


class Rebalances:
    """Tells of partitions that come and go; registered as aiokafka's listener."""

    def __init__(
        self,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[Iterable[TopicPartition]], Awaitable[None]],
    ) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give all partitions up: aiokafka knows only the eager protocol."""
        del revoked
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin with these: they are ours until they are revoked."""
        await self._assigned(assigned)


_aiokafka.ConsumerRebalanceListener.register(Rebalances)
