"""Topics that are there, or are made, or are refused; and where a new group begins in them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from acked.errors import LayerError
from acked.layers.kafka._admin import administering, batch_limit, new_topic
from acked.layers.kafka._client import (
    AGAIN,
    KNOWN_WITHIN,
    coordinator_of,
    topic_partition,
    within,
)
from acked.layers.kafka._errors import refusal_name, translated
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import (
    ConsumerClient,
    OffsetAndMetadata,
    ProducerClient,
    TopicPartition,
)
from acked.types import Start

__all__ = ("Topics", "committed_of", "offsets_at", "origins")


class HasProducer(Protocol):
    """Who can be asked for a producer; it may be another one later."""

    @property
    def producer(self) -> ProducerClient:
        """Return one that is connected."""
        ...


class Topics:
    """Which topics exist, asked of the brokers once for each."""

    def __init__(
        self,
        owner: HasProducer,
        options: KafkaOptions,
        *,
        partitions: int | None,
        replicas: int,
    ) -> None:
        self._owner = owner
        self._options = options
        self._partitions = partitions
        self._replicas = replicas
        self._known: dict[str, tuple[int, ...]] = {}
        self._limits: dict[str, int | None] = {}

    def is_known(self, topic: str) -> bool:
        """Return whether `topic` was found before."""
        return topic in self._known

    @property
    def known(self) -> tuple[str, ...]:
        """The topics found so far, in order of their names."""
        return tuple(sorted(self._known))

    async def ensure(self, topics: Iterable[str]) -> None:
        """Raise `LayerError` for one of `topics` that does not exist, and cannot be made."""
        for topic in topics:
            if topic not in self._known:
                await self._find(topic)

    def places(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return all partitions of those of `topics` that are known, as they were found."""
        return [TopicPartition(name, n) for name in topics for n in self._known.get(name, ())]

    def limit_of(self, topic: str) -> int | None:
        """Return the bytes of the largest batch that `topic` takes; None if nobody would tell."""
        return self._limits.get(topic)

    async def refresh(self) -> None:
        """Ask what there is now: topics are deleted and made anew, and get partitions more."""
        client, known = self._owner.producer.client, self._known
        asked = client.force_metadata_update()
        await within(self._options.timeout, asked, self._options, "looking for topics")
        found = {topic: client.cluster.partitions_for_topic(topic) for topic in known}
        self._known = {topic: tuple(sorted(one)) for topic, one in found.items() if one}

    def forget(self, topic: str) -> None:
        """Look for `topic` again when it is used the next time."""
        self._known.pop(topic, None)

    async def _find(self, topic: str) -> None:
        if self._partitions is not None:
            await self._create(topic, self._partitions)
        bound = self._options.timeout if self._partitions is not None else KNOWN_WITHIN
        try:
            async with asyncio.timeout(bound):
                found = await self._owner.producer.partitions_for(topic)
        except TimeoutError:
            raise LayerError(
                f"Kafka at {self._options.where} has no topic {topic!r}, or does not answer; "
                "create the topic, or give the layer create_topics= (a number of partitions)"
            ) from None
        except Exception as error:
            raise translated(error, self._options, f"looking for topic {topic!r}") from error
        self._limits[topic] = await batch_limit(self._owner.producer, topic)
        self._known[topic] = tuple(sorted(found))

    async def _create(self, topic: str, partitions: int) -> None:
        options = self._options
        async with administering(options) as admin:
            reply = await within(
                options.timeout,
                admin.create_topics(
                    [new_topic(topic, partitions, self._replicas)],
                    timeout_ms=round(options.timeout * 1000),
                ),
                options,
                f"creating topic {topic!r}",
            )
        for _, code, *_ in reply.topic_errors:
            name = refusal_name(code)
            if name not in {None, "TopicAlreadyExistsError"}:
                raise LayerError(
                    f"Kafka at {options.where} did not create topic {topic!r} ({name}); "
                    "create it by hand, or give other create_topics= and replicas="
                )


async def origins(
    consumer: ConsumerClient,
    places: Sequence[TopicPartition],
    start: Start,
    *,
    is_open: bool = False,
) -> Mapping[TopicPartition, int]:
    """Return where the group begins in those topics in which it has not committed anything yet.

    A partition that is not in it and has no commit was added to a topic the group knows already:
    that begins with its first record, whatever `start` is. Where the topics are chosen by pattern,
    `is_open`, the same holds for one that the group does not know, if it knows any of them.
    """
    partitions = [topic_partition(place) for place in places]
    committed = await committed_of(consumer, partitions)
    known = {place.topic for place, found in committed.items() if found.offset >= 0}
    unknown = [topic_partition(place) for place in places if place.topic not in known]
    if not unknown:
        return {}
    if start.kind == "earliest" or (is_open and known):
        return await consumer.beginning_offsets(unknown)
    if start.kind == "latest":
        return await consumer.end_offsets(unknown)
    return await offsets_at(consumer, dict.fromkeys(unknown, start.time))


async def offsets_at(
    consumer: ConsumerClient, times: Mapping[object, float]
) -> Mapping[TopicPartition, int]:
    """Return the offset of the first record from each partition's time on, else of its end."""
    ends = await consumer.end_offsets(list(times))
    moments = {partition: max(0, int(1000 * time)) for partition, time in times.items()}
    found = await consumer.offsets_for_times(moments)
    return {
        place: end if (first := found.get(place)) is None else first.offset
        for place, end in ends.items()
    }


async def committed_of(
    consumer: ConsumerClient, partitions: Sequence[object]
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """Ask where the group is, until somebody answers: the caller has a deadline."""
    while True:
        try:
            return await coordinator_of(consumer).fetch_committed_offsets(partitions)
        except AssertionError:  # no nodes: the broker has just come back, and names none yet
            await asyncio.sleep(AGAIN)
