"""The seam to aiokafka, which has no types: what we use of it, and its errors translated."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers._kafka_options import KafkaOptions

__all__ = (
    "SILENT",
    "Admin",
    "Consumer",
    "OffsetAndMetadata",
    "Place",
    "Producer",
    "Rebalances",
    "RecordMetadata",
    "connected",
    "coordinator_of",
    "is_not_ours",
    "is_out_of_order",
    "left",
    "make_admin",
    "make_consumer",
    "make_producer",
    "new_topic",
    "refusal",
    "topic_partition",
    "translated",
    "within",
)

T = TypeVar("T")


class Place(NamedTuple):
    """A partition of a topic; equal to aiokafka's `TopicPartition`, and hashed alike."""

    topic: str
    partition: int


class OffsetAndMetadata(Protocol):
    """A committed offset, -1 for none, and its metadata."""

    @property
    def offset(self) -> int:
        """Return aiokafka's `offset`."""
        ...

    @property
    def metadata(self) -> str | None:
        """Return aiokafka's `metadata`."""
        ...


class RecordMetadata(Protocol):
    """Where the broker put a record."""

    @property
    def partition(self) -> int:
        """Return aiokafka's `partition`."""
        ...

    @property
    def offset(self) -> int:
        """Return aiokafka's `offset`."""
        ...


class Producer(Protocol):
    """What we use of `AIOKafkaProducer`."""

    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
        ...

    async def stop(self) -> None:
        """Do what aiokafka's `stop` does."""
        ...

    async def partitions_for(self, topic: str) -> Iterable[int]:
        """Do what aiokafka's `partitions_for` does."""
        ...

    async def send(
        self,
        topic: str,
        value: bytes,
        key: bytes | None,
        *,
        headers: Sequence[tuple[str, bytes]],
    ) -> "asyncio.Future[RecordMetadata]":
        """Do what aiokafka's `send` does."""
        ...


class Coordinator(Protocol):
    """What we use of aiokafka's `GroupCoordinator`, which is private to it: read only."""

    generation: int

    async def fetch_committed_offsets(
        self, partitions: Sequence[object]
    ) -> Mapping[Place, OffsetAndMetadata]:
        """Do what aiokafka's `fetch_committed_offsets` does."""
        ...


class _Closing(Protocol):
    async def close(self) -> None:
        """Do what aiokafka's `close` does."""
        ...


class Consumer(Protocol):
    """What we use of `AIOKafkaConsumer`; partitions go in as `topic_partition(place)`."""

    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
        ...

    async def stop(self) -> None:
        """Do what aiokafka's `stop` does."""
        ...

    def subscribe(self, topics: Sequence[str], *, listener: object) -> None:
        """Do what aiokafka's `subscribe` does."""
        ...

    def assignment(self) -> Iterable[Place]:
        """Do what aiokafka's `assignment` does."""
        ...

    async def getmany(
        self, *partitions: object, timeout_ms: int, max_records: int | None = None
    ) -> Mapping[Place, Sequence[Any]]:
        """Do what aiokafka's `getmany` does."""
        ...

    async def commit(self, offsets: Mapping[object, tuple[int, str]]) -> None:
        """Do what aiokafka's `commit` does."""
        ...

    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[Place, int]:
        """Do what aiokafka's `beginning_offsets` does."""
        ...

    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[Place, int]:
        """Do what aiokafka's `end_offsets` does."""
        ...

    async def offsets_for_times(
        self, timestamps: dict[object, int]
    ) -> Mapping[Place, OffsetAndMetadata | None]:
        """Do what aiokafka's `offsets_for_times` does."""
        ...

    def seek(self, partition: object, offset: int) -> None:
        """Do what aiokafka's `seek` does."""
        ...

    def pause(self, *partitions: object) -> None:
        """Do what aiokafka's `pause` does."""
        ...

    def resume(self, *partitions: object) -> None:
        """Do what aiokafka's `resume` does."""
        ...


class Admin(Protocol):
    """What we use of `AIOKafkaAdminClient`."""

    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
        ...

    async def close(self) -> None:
        """Do what aiokafka's `close` does."""
        ...

    async def create_topics(self, new_topics: Sequence[object], *, timeout_ms: int) -> Any:
        """Do what aiokafka's `create_topics` does."""
        ...


class _Listener(Protocol):
    def register(self, subclass: type[object]) -> type[object]:
        """Do what aiokafka's `register` does."""
        ...


class _Aiokafka(Protocol):
    AIOKafkaConsumer: Callable[..., Consumer]
    AIOKafkaProducer: Callable[..., Producer]
    TopicPartition: Callable[[str, int], object]
    ConsumerRebalanceListener: _Listener


_aiokafka: Final = cast("_Aiokafka", import_module("aiokafka"))
_admin: Final = import_module("aiokafka.admin")
_errors: Final = import_module("aiokafka.errors")
_KafkaError: Final = cast("type[Exception]", _errors.KafkaError)
_NOT_OURS: Final = cast(
    "tuple[type[Exception], ...]", (_errors.CommitFailedError, _errors.IllegalStateError)
)
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
_OUT_OF_ORDER: Final = cast("type[Exception]", _errors.OutOfOrderSequenceNumber)
SILENT: Final = 5.0
"""Seconds for what is said when closing."""


def make_producer(options: KafkaOptions, max_request: int) -> Producer:
    """Return an idempotent producer that waits for all replicas in sync."""
    return _aiokafka.AIOKafkaProducer(
        **options.client(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,
        max_request_size=max_request,
    )


def make_consumer(options: KafkaOptions, group: str) -> Consumer:
    """Return a consumer that commits nothing by itself and has joined nothing yet."""
    session = round(options.session_timeout * 1000)
    return _aiokafka.AIOKafkaConsumer(
        **options.client(),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if options.read_committed else "read_uncommitted",
        session_timeout_ms=session,
        rebalance_timeout_ms=session,
        heartbeat_interval_ms=min(500, session // 3),
    )


def make_admin(options: KafkaOptions) -> Admin:
    """Return a client that creates topics."""
    return cast("Admin", _admin.AIOKafkaAdminClient(**options.client()))


def new_topic(name: str, partitions: int, replicas: int) -> object:
    """Return what `Admin.create_topics` takes for one topic."""
    return cast("object", _admin.NewTopic(name, partitions, replicas))


def coordinator_of(consumer: Consumer) -> Coordinator:
    """Return the part of a started `consumer` that knows its membership; private to aiokafka."""
    return cast("Coordinator", vars(consumer)["_coordinator"])


def topic_partition(place: Place) -> object:
    """Return `place` as aiokafka's own type, which it insists on."""
    return _aiokafka.TopicPartition(*place)


def is_not_ours(error: BaseException) -> bool:
    """Return whether `error`, of a commit, says that the membership or partition is not ours."""
    return isinstance(error, _NOT_OURS)


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
        return LayerError(f"{words}; the broker refused it: check rights, names and limits")
    # aiokafka asserts that there are nodes; a broker that has just come back names none.
    if isinstance(error, (_KafkaError, TimeoutError, OSError, AssertionError)):
        return ConnectionLost(f"{words}; check that the brokers run and are reachable")
    return LayerError(f"{words}; this is not an answer of Kafka, please report it")


def refusal(code: int) -> str | None:
    """Return the name of the broker's error number `code`, or None for success."""
    kind = cast("type[Exception]", _errors.for_code(code))
    return None if kind is _errors.NoError else kind.__name__


async def within(seconds: float, awaitable: Awaitable[T], options: KafkaOptions, doing: str) -> T:
    """Await with a deadline, for aiokafka retries for ever; raise `LayerError` for any failure."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except Exception as error:
        raise translated(error, options, doing) from error


async def connected(client: Producer | Consumer, options: KafkaOptions) -> None:
    """Start `client`; where that fails or is cancelled, nothing stays open."""
    try:
        await within(options.timeout, client.start(), options, "connecting")
    except BaseException:
        with anyio.move_on_after(SILENT, shield=True):
            await client.stop()
        raise


async def left(consumer: Consumer) -> None:
    """Leave the group and close; a broker that does not answer is left alone."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=SILENT)
    if stopping.done():
        if not stopping.cancelled():
            stopping.exception()
        return
    stopping.cancel()
    await asyncio.wait({stopping})
    # The rest of `stop`, which was given up.
    parts = [cast("_Closing", vars(consumer)[name]).close() for name in ("_fetcher", "_client")]
    await asyncio.gather(*parts, return_exceptions=True)


class Rebalances:
    """Tells of partitions that come and go; registered as aiokafka's listener."""

    def __init__(
        self,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[Iterable[Place]], Awaitable[None]],
    ) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[Place]) -> None:
        """Give all partitions up: aiokafka knows only the eager protocol."""
        del revoked
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Iterable[Place]) -> None:
        """Begin with these: they are ours until they are revoked."""
        await self._assigned(assigned)


_aiokafka.ConsumerRebalanceListener.register(Rebalances)
