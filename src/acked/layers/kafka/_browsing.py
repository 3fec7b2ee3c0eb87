"""What a topic keeps, read without joining any group, and what was removed of it.

Kafka deletes no single record. So what is removed is committed for a group of ours, as any group's
settlements are, and that is what "kept" means here: not removed by anybody who browses. The group
has no members: who removes at the same time as another process may see a record again.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._client import (
    connected,
    make_consumer,
    position_of,
    stopped,
    topic_partition,
    within,
)
from acked.layers.kafka._commit_metadata import (
    CommitMetadata,
    MetadataLimit,
    read_metadata,
    written_metadata,
)
from acked.layers.kafka._custody import NOBODY
from acked.layers.kafka._errors import is_metadata_too_large
from acked.layers.kafka._lenient import LenientParsing
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._partition import Partition, Position
from acked.layers.kafka._protocols import ConsumerClient, LoneConsumerClient, TopicPartition
from acked.layers.kafka._records import Fetched, leased_first
from acked.layers.kafka._topics import Topics, committed_of
from acked.types import KeptRecord

__all__ = ("TopicBrowser",)

T = TypeVar("T")

GROUP: Final = "acked-dead-letters"
PAGE: Final = 500
WAIT: Final = 200
"""Milliseconds for which one read waits for records."""
DOING: Final = "reading what a topic keeps"


class _Removed(NamedTuple):
    """What was removed of a partition: all before `first`, and what the metadata covers."""

    first: int
    metadata: CommitMetadata
    position: Position
    """As it is committed, if anything is."""

    def has(self, offset: int) -> bool:
        """Say whether the record at `offset` was removed."""
        return offset < self.first or self.metadata.covers(offset)


class _Seen:
    """Which offsets of a partition have a record, as far as it was read: others are marks."""

    def __init__(self, begin: int) -> None:
        self.begin: Final = begin
        self.end = begin
        self._offsets: set[int] = set()

    def add(self, offsets: Sequence[int]) -> None:
        """Note the next that were read."""
        self._offsets.update(offsets)
        self.end = max((self.end, *(offset + 1 for offset in offsets)))

    def is_mark(self, offset: int) -> bool:
        """Say whether there is no record at `offset`, for all we know."""
        return self.begin <= offset < self.end and offset not in self._offsets


class TopicBrowser:
    """Shows what topics keep, and removes records of it."""

    def __init__(
        self, options: KafkaOptions, topics: Callable[[], Topics], limit: MetadataLimit
    ) -> None:
        self._options = options
        self._topics = topics
        self._limit = limit
        self._seen: Final[dict[TopicPartition, _Seen]] = {}
        self._removing = asyncio.Lock()

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show the records of `topic` that nobody has removed, up to where it ends now."""
        places = await self._places(topic)
        async with self._consumer(places) as consumer:
            removed = await self._ask(self._removed(consumer, places))
            ends = await self._ask(consumer.end_offsets([*map(topic_partition, places)]))
            reading = _Reading(consumer, removed, ends)
            self._seen.update(reading.seen)
            heard = anyio.current_time()
            while reading.is_unfinished:
                page = await self._ask(reading.page())
                if page:
                    heard = anyio.current_time()
                    yield page
                elif anyio.current_time() - heard > self._options.timeout:
                    where = self._options.where
                    raise ConnectionLost(f"Kafka at {where}: {DOING} failed: no records came")

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Commit that the records at `positions` are removed; False where there is no room for it.

        That is where too many were left between those that were removed: see `_commit_metadata`.
        """
        asked: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for position in positions:
            partition, _, offset = position.partition(":")
            asked[TopicPartition(topic, int(partition))].add(int(offset))
        async with self._removing, self._consumer([*asked]) as consumer:
            removed = await self._ask(self._removed(consumer, [*asked]))
            after = await self._commit(consumer, removed, asked)
        gone = {place: _Removed(at.offset, read_metadata(*at), at) for place, at in after.items()}
        places = [position.partition(":") for position in positions]
        return [gone[TopicPartition(topic, int(n))].has(int(offset)) for n, _, offset in places]

    async def _commit(
        self,
        consumer: ConsumerClient,
        removed: Mapping[TopicPartition, _Removed],
        asked: Mapping[TopicPartition, set[int]],
    ) -> Mapping[TopicPartition, Position]:
        """Commit that `asked` is removed, too, as far as the brokers keep it; return what is so."""
        while True:
            after = {place: self._with(removed[place], place, asked[place]) for place in asked}
            offsets = {topic_partition(place): position for place, position in after.items()}
            try:
                await self._ask(consumer.commit(offsets))
            except LayerError as error:
                longest = max(len(position.metadata) for position in after.values())
                if not (is_metadata_too_large(error.__cause__) and self._limit.refused(longest)):
                    raise
            else:
                return after

    def _with(self, removed: _Removed, place: TopicPartition, more: set[int]) -> Position:
        """Return what to commit so that `more` is removed, too: as much of it as there is room."""
        seen = self._seen.get(place)

        def is_done(offset: int) -> bool:
            is_mark = seen is not None and seen.is_mark(offset)
            return offset in more or removed.has(offset) or is_mark

        before = removed.metadata.highest
        highest = max(before, *more)
        first = removed.first
        while first <= highest and is_done(first):
            first += 1
        left = [offset for offset in range(first, highest + 1) if not is_done(offset)]
        metadata, covered = written_metadata(first, highest, left, self._limit.room)
        if covered < before:  # nothing that was removed may come back
            return removed.position
        return Position(first, metadata)

    async def _removed(
        self, consumer: ConsumerClient, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, _Removed]:
        partitions = [topic_partition(place) for place in places]
        committed = await committed_of(consumer, partitions)
        begin = await consumer.beginning_offsets(partitions)
        found: dict[TopicPartition, _Removed] = {}
        for place in places:
            known = committed.get(place)  # none where nobody has removed anything yet
            at = Position(-1, "") if known is None else Position(known.offset, known.metadata or "")
            found[place] = _Removed(max(at.offset, begin[place]), read_metadata(*at), at)
        return found

    async def _places(self, topic: str) -> Sequence[TopicPartition]:
        topics = self._topics()
        await topics.refresh()
        await topics.ensure([topic])
        return topics.places([topic])

    async def _ask(self, asked: Awaitable[T]) -> T:
        return await within(self._options.timeout, asked, self._options, DOING)

    @asynccontextmanager
    async def _consumer(
        self, places: Sequence[TopicPartition]
    ) -> AsyncGenerator[ConsumerClient, None]:
        consumer = make_consumer(self._options, GROUP)
        await connected(consumer, self._options)
        try:
            lone = cast("LoneConsumerClient", consumer)
            lone.assign([topic_partition(place) for place in places])
            yield consumer
        finally:
            with anyio.CancelScope(shield=True):
                await stopped(consumer)


class _Reading:
    """Reads each partition from what was removed on to its end."""

    def __init__(
        self,
        consumer: ConsumerClient,
        removed: Mapping[TopicPartition, _Removed],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self.seen: Final = {place: _Seen(one.first) for place, one in removed.items()}
        self._consumer = consumer
        self._removed = removed
        self._ends = ends
        self._unread = {place for place, one in removed.items() if one.first < ends[place]}
        self._parsing = LenientParsing(consumer)
        self._parsing.start()
        for place, one in removed.items():
            consumer.seek(topic_partition(place), one.first)

    @property
    def is_unfinished(self) -> bool:
        """Whether there is more to be read."""
        return bool(self._unread)

    async def page(self) -> Sequence[KeptRecord]:
        """Return the next records, or none: they may take a while."""
        now = asyncio.get_running_loop().time()
        self._parsing.end_if_due(now)
        wanted = [topic_partition(place) for place in self._unread]
        try:
            found = await self._consumer.getmany(*wanted, timeout_ms=WAIT, max_records=PAGE)
        except UnicodeDecodeError:  # aiokafka takes the names of headers for UTF-8
            self._parsing.begin(now)
            for place in self._unread:
                self._consumer.seek(topic_partition(place), self.seen[place].end)
            return []
        page = [one for place, records in found.items() for one in self._kept(place, records)]
        self._unread = {
            place
            for place in self._unread
            if (position_of(self._consumer, place) or 0) < self._ends[place]
        }
        return page

    def _kept(self, place: TopicPartition, records: list[Fetched]) -> Sequence[KeptRecord]:
        offsets = [one.offset for one in records]
        self.seen[place].add(offsets)
        removed, end = self._removed[place], self._ends[place]
        leased = leased_first(Partition(place, Position(0, ""), NOBODY), records)
        return [
            KeptRecord(one.record, one.position)
            for one, offset in zip(leased, offsets, strict=True)
            if offset < end and not removed.has(offset)
        ]
