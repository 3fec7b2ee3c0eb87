"""What we use of aiokafka, which has no types, as types."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

__all__ = (
    "BrokerClient",
    "ClusterView",
    "ConsumerClient",
    "CoordinatorClient",
    "LoneConsumerClient",
    "MemberAssignment",
    "MemberMetadata",
    "OffsetAndMetadata",
    "ProducerClient",
    "RecordMetadata",
    "TopicPartition",
    "member_assignment",
    "member_metadata",
)


class TopicPartition(NamedTuple):
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


class ClusterView(Protocol):
    """What is known of the cluster's topics."""

    def partitions_for_topic(self, topic: str) -> Iterable[int] | None:
        """Do what aiokafka's `partitions_for_topic` does."""
        ...


class MemberMetadata(Protocol):
    """What a member of a group tells its leader."""

    @property
    def subscription(self) -> Sequence[str]:
        """Return aiokafka's `subscription`."""
        ...

    @property
    def user_data(self) -> bytes:
        """Return aiokafka's `user_data`."""
        ...


class MemberAssignment(Protocol):
    """What a leader tells a member of its group."""

    @property
    def user_data(self) -> bytes:
        """Return aiokafka's `user_data`."""
        ...


_group: Final = cast("Any", import_module("aiokafka.coordinator.protocol"))
member_metadata: Final = cast(
    "Callable[[int, Sequence[str], bytes], MemberMetadata]", _group.ConsumerProtocolMemberMetadata
)
member_assignment: Final = cast(
    "Callable[[int, Sequence[tuple[str, list[int]]], bytes], MemberAssignment]",
    _group.ConsumerProtocolMemberAssignment,
)


class BrokerClient(Protocol):
    """What we use of `AIOKafkaClient`, which producers have."""

    @property
    def cluster(self) -> ClusterView:
        """Return aiokafka's `cluster`."""
        ...

    async def bootstrap(self) -> None:
        """Do what aiokafka's `bootstrap` does."""
        ...

    async def force_metadata_update(self) -> bool:
        """Do what aiokafka's `force_metadata_update` does."""
        ...


class ProducerClient(Protocol):
    """What we use of `AIOKafkaProducer`."""

    @property
    def client(self) -> BrokerClient:
        """Return aiokafka's `client`."""
        ...

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
        value: bytes | None,
        key: bytes | None,
        *,
        headers: Sequence[tuple[str, bytes]],
    ) -> "asyncio.Future[RecordMetadata]":
        """Do what aiokafka's `send` does."""
        ...


class CoordinatorClient(Protocol):
    """What we use of aiokafka's `GroupCoordinator`, which is private to it."""

    generation: int

    def request_rejoin(self) -> None:
        """Do what aiokafka's `request_rejoin` does."""
        ...

    async def fetch_committed_offsets(
        self, partitions: Sequence[object]
    ) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Do what aiokafka's `fetch_committed_offsets` does."""
        ...


class ConsumerClient(Protocol):
    """What we use of `AIOKafkaConsumer`; partitions go in as `topic_partition(place)`."""

    async def start(self) -> None:
        """Do what aiokafka's `start` does."""
        ...

    async def stop(self) -> None:
        """Do what aiokafka's `stop` does."""
        ...

    async def getmany(
        self, *partitions: object, timeout_ms: int, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[Any]]:
        """Do what aiokafka's `getmany` does."""
        ...

    async def commit(self, offsets: Mapping[object, tuple[int, str]]) -> None:
        """Do what aiokafka's `commit` does."""
        ...

    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[TopicPartition, int]:
        """Do what aiokafka's `beginning_offsets` does."""
        ...

    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[TopicPartition, int]:
        """Do what aiokafka's `end_offsets` does."""
        ...

    async def offsets_for_times(
        self, timestamps: dict[object, int]
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        """Do what aiokafka's `offsets_for_times` does."""
        ...

    def partitions_for_topic(self, topic: str) -> Iterable[int] | None:
        """Do what aiokafka's `partitions_for_topic` does."""
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


class LoneConsumerClient(ConsumerClient, Protocol):
    """What we use of `AIOKafkaConsumer` where it reads without being a member."""

    def assign(self, partitions: Sequence[object]) -> None:
        """Do what aiokafka's `assign` does."""
        ...
