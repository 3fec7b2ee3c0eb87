"""The seam to aiokafka, which has no types: what we use of it, and its errors translated."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import (
    ConsumerClient,
    CoordinatorClient,
    ProducerClient,
    TopicPartition,
)

__all__ = (
    "SILENT",
    "Rebalances",
    "backlog_of",
    "connected",
    "coordinator_of",
    "is_not_ours",
    "is_out_of_order",
    "lost_position",
    "make_consumer",
    "make_producer",
    "position_of",
    "started",
    "stopped",
    "topic_partition",
    "translated",
    "within",
)

T = TypeVar("T")


class _Closing(Protocol):
    async def close(self) -> None:
        """Do what aiokafka's `close` does."""
        ...


class _Starting(Protocol):
    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
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
_errors: Final = import_module("aiokafka.errors")
_KafkaError: Final = cast("type[Exception]", _errors.KafkaError)
_NOT_OURS: Final = cast(
    "tuple[type[Exception], ...]", (_errors.CommitFailedError, _errors.IllegalStateError)
)
_NO_OFFSET: Final = cast("type[Exception]", _errors.NoOffsetForPartitionError)
_OUT_OF_RANGE: Final = cast("type[Exception]", _errors.OffsetOutOfRangeError)
_REFUSED: Final = cast(
    "tuple[type[Exception], ...]",
    tuple(
        getattr(_errors, name)
        for name in (
            *("TopicAuthorizationFailedError", "GroupAuthorizationFailedError"),
            *("ClusterAuthorizationFailedError", "AuthenticationFailedError"),
            *("SaslAuthenticationFailed", "UnsupportedSaslMechanismError"),
            *("AuthenticationMethodNotSupported", "IllegalSaslStateError"),
            *("InvalidTopicError", "InvalidGroupIdError", "InvalidSessionTimeoutError"),
            *("InconsistentGroupProtocolError", "MessageSizeTooLargeError"),
            *("RecordListTooLargeError", "InvalidTimestampError", "PolicyViolationError"),
            *("InvalidPartitionsError", "InvalidReplicationFactorError", "RecordTooLargeError"),
        )
    ),
)
_LOGIN: Final = cast(
    "tuple[type[Exception], ...]",
    (
        *(_errors.SaslAuthenticationFailed, _errors.AuthenticationFailedError),
        *(_errors.UnsupportedSaslMechanismError, _errors.IllegalSaslStateError),
    ),
)
_OUT_OF_ORDER: Final = cast("type[Exception]", _errors.OutOfOrderSequenceNumber)
FRESH: Final = 5000
"""Milliseconds after which a consumer asks anew which partitions there are: it is assigned none
when it joins while the brokers, just come back, name none."""
SILENT: Final = 5.0
"""Seconds for what is said when closing."""
AT_ONCE: Final = 1.0
"""Seconds for a request that was begun and that nobody needs any more."""


def make_producer(options: KafkaOptions, max_request: int) -> ProducerClient:
    """Return an idempotent producer that waits for all replicas in sync."""
    return _aiokafka.AIOKafkaProducer(
        **options.client(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,
        max_request_size=max_request,
    )


def make_consumer(options: KafkaOptions, group: str) -> ConsumerClient:
    """Return a consumer that commits nothing by itself and has joined nothing yet."""
    session = round(options.session_timeout * 1000)
    return _aiokafka.AIOKafkaConsumer(
        **options.client(),
        group_id=group,
        enable_auto_commit=False,
        # It tells us where the log has lost our position, and does not move on silently.
        auto_offset_reset="none",
        isolation_level="read_committed" if options.read_committed else "read_uncommitted",
        session_timeout_ms=session,
        rebalance_timeout_ms=session,
        heartbeat_interval_ms=min(500, session // 3),
        metadata_max_age_ms=FRESH,
    )


def coordinator_of(consumer: ConsumerClient) -> CoordinatorClient:
    """Return the part of a started `consumer` that knows its membership; private to aiokafka."""
    return cast("CoordinatorClient", vars(consumer)["_coordinator"])


def topic_partition(place: TopicPartition) -> object:
    """Return `place` as aiokafka's own type, which it insists on."""
    return _aiokafka.TopicPartition(*place)


def is_not_ours(error: BaseException) -> bool:
    """Return whether `error`, of a commit, says that the membership or partition is not ours."""
    return isinstance(error, _NOT_OURS)


def lost_position(error: Exception) -> Mapping[TopicPartition, int] | None:
    """Return the positions that the log does not have, if `error`, of a read, is about that.

    Empty where there was no position yet, for the group has none.
    """
    if isinstance(error, _NO_OFFSET):
        return {}
    if not isinstance(error, _OUT_OF_RANGE):
        return None
    return cast("Mapping[TopicPartition, int]", error.args[0])


def backlog_of(consumer: ConsumerClient, places: Iterable[TopicPartition]) -> int | None:
    """Return how many offsets of `places` were not read yet, as fetches told; private to aiokafka.

    None before they told of each of `places`.
    """
    total = 0
    for place in places:
        state = _state_of(consumer, place)
        if state is None or not state.has_valid_position:
            return None
        end = state.highwater if state.lso in {None, -1} else state.lso
        if end is None:
            return None
        total += max(0, end - state.position)
    return total


def position_of(consumer: ConsumerClient, place: TopicPartition) -> int | None:
    """Return the offset at which `place` is read next, None while it is not; private to it, too."""
    state = _state_of(consumer, place)
    return state.position if state is not None and state.has_valid_position else None


def _state_of(consumer: ConsumerClient, place: TopicPartition) -> Any | None:
    assignment = vars(consumer)["_subscription"].subscription.assignment
    partition = topic_partition(place)
    if assignment is None or partition not in assignment.tps:
        return None
    return assignment.state_value(partition)


def is_out_of_order(error: BaseException | None) -> bool:
    """Return whether the broker refused a batch since one before it is missing."""
    return isinstance(error, _OUT_OF_ORDER)


def translated(error: Exception, options: KafkaOptions, doing: str) -> LayerError:
    """Return `error` as ours: `ConnectionLost` unless trying again is of no use."""
    if isinstance(error, LayerError):
        return error
    kind = type(error).__name__
    words = f"Kafka at {options.where}: {doing} failed ({kind})"
    if isinstance(error, _REFUSED):
        check = "check rights, names and limits"
        if isinstance(error, _LOGIN):
            check = "check the user or password, and sasl_mechanism"
        return LayerError(f"{words}; the broker refused it: {check}")
    if isinstance(error, ssl.SSLError):
        # Its words tell of certificates only.
        return LayerError(f"{words}: {error}; check the TLS options and the server's certificate")
    # aiokafka asserts that there are nodes; a broker that has just come back names none.
    if isinstance(error, (_KafkaError, TimeoutError, OSError, AssertionError)):
        # One that wants a certificate hangs up without a word.
        hint = ", and whether they want a certificate of ours" if options.tls else ""
        return ConnectionLost(f"{words}; check that the brokers run and are reachable{hint}")
    return LayerError(f"{words}; this is not an answer of Kafka, please report it")


async def within(seconds: float, awaitable: Awaitable[T], options: KafkaOptions, doing: str) -> T:
    """Await with a deadline, for aiokafka retries for ever; raise `LayerError` for any failure."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except Exception as error:
        raise translated(error, options, doing) from error


async def connected(client: ProducerClient | ConsumerClient, options: KafkaOptions) -> None:
    """Start `client`; where that fails or is cancelled, nothing stays open."""
    try:
        await started(client, options)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await stopped(client)
        if isinstance(error, ConnectionLost) and (options.user is not None or options.tls):
            await _say_who_was_refused(options)
        raise


async def started(client: _Starting, options: KafkaOptions) -> None:
    """Start `client`, with a deadline.

    Race: where aiokafka is cancelled while it asks its first server, it forgets that connection.
    """
    starting = asyncio.ensure_future(client.start())
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
