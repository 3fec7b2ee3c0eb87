"""What we use of aiokafka, which has no types, as types."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = (
    "ConsumerClient",
    "CoordinatorClient",
    "OffsetAndMetadata",
    "ProducerClient",
    "RecordMetadata",
    "TopicPartition",
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


class ProducerClient(Protocol):
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


class CoordinatorClient(Protocol):
    """What we use of aiokafka's `GroupCoordinator`, which is private to it: read only."""

    generation: int

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

    def subscribe(self, topics: Sequence[str], *, listener: object) -> None:
        """Do what aiokafka's `subscribe` does."""
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

    def partitions_for_topic(self, topic: str) -> object | None:
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
