"""One membership of a group: joined, told of its partitions, read from one task, left.

Every membership is a consumer of aiokafka of its own. It is read by one task that is never
cancelled while the consumer lives: a cancelled `getmany` leaks a counter, and with it the group
never notices again that this consumer has stopped reading.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._client import (
    Rebalances,
    backlog_of,
    connected,
    coordinator_of,
    is_not_ours,
    lost_position,
    make_consumer,
    position_of,
    stopped,
    topic_partition,
    translated,
    within,
)
from acked.layers.kafka._commit_metadata import read_metadata
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._partition import Partition
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._records import Fetched
from acked.layers.kafka._topics import origins
from acked.types import Outcome, Start

__all__ = ("Membership", "Owner")

logger: Final = logging.getLogger("acked.layers.kafka")


MOST: Final = 250
"""Records taken at once, so that other tasks have their turn."""
WAIT: Final = 200
"""Milliseconds for which one read waits for records."""
PAUSE_AT: Final = 20_000
"""Records of a partition read beyond its oldest unsettled one, before it is paused."""
IDLE: Final = 1.0
"""Seconds between signs of life while there is no room."""
NO_PARTITION: Final = topic_partition(TopicPartition("-", 0))
"""A partition nobody is assigned: reading only from it is a sign of life and takes nothing."""
REVOKE_TIMEOUT: Final = 2.0
"""Seconds for the last commit before partitions go to another member."""


class Owner(Protocol):
    """What is told of records and partitions."""

    def room(self) -> int:
        """Return how many more records there is room for."""
        ...

    def arrived(self, partition: Partition, records: list[Fetched]) -> None:
        """Take what was read from `partition`, and empty `records`."""
        ...

    def withdraw(self, partition: Partition | None = None) -> None:
        """Hand out nothing of what is buffered, of `partition` or of all: it is not ours now."""
        ...

    def revoked(self) -> None:
        """Forget all that came so far: the partitions are no longer ours."""
        ...

    def failed(self, error: LayerError) -> None:
        """Note that nothing more will come of this membership."""
        ...


class Membership:
    """Reads and commits as one member of a group, until it is left."""

    def __init__(
        self,
        options: KafkaOptions,
        topics: Sequence[str],
        group: str,
        owner: Owner,
        on_trimmed: Callable[[int], None],
    ) -> None:
        self.freed: Final = asyncio.Event()
        """Set when there may be room again."""
        self._options = options
        self._topics = topics
        self._group = group
        self._owner = owner
        self._on_trimmed = on_trimmed
        self._consumer = make_consumer(options, group)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._origins: Mapping[TopicPartition, int] = {}
        self._generation = -1
        self._assigned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committing = asyncio.Lock()
        self._commit: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._heard = asyncio.get_running_loop().time()

    async def join(self, places: Sequence[TopicPartition], start: Start) -> None:
        """Join, and return when the first partitions are assigned and their positions known."""
        options, consumer = self._options, self._consumer
        await connected(consumer, options)
        try:
            found = await within(
                options.timeout, origins(consumer, places, start), options, "looking up offsets"
            )
            told = options.start_offsets
            self._origins = {place: told.get(place, offset) for place, offset in found.items()}
            consumer.subscribe(self._topics, listener=Rebalances(self._revoke, self._assign))
            self._reading = asyncio.create_task(self._read())
            bound = options.timeout + options.session_timeout
            await within(bound, asyncio.shield(self._assigned), options, "joining the group")
        except BaseException:
            await asyncio.shield(self.leave())
            raise

    async def leave(self) -> None:
        """Commit what was settled, leave the group and close; errors are not raised."""
        self._is_leaving = True
        self.freed.set()
        await self._hand_over()
        await stopped(self._consumer)
        if self._assigned.done() and not self._assigned.cancelled():
            self._assigned.exception()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=WAIT / 1000)
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def commit(self, touched: Iterable[Partition]) -> Outcome:
        """Commit what was settled in `touched` in one request, if it is not durable yet."""
        async with self._committing:
            stale = [p for p in touched if p.is_ours and p.durable < p.version]
            if not stale:
                return Outcome.LOST
            if coordinator_of(self._consumer).generation != self._generation:
                # Race: the membership has ended and nobody told us yet. Without one, a commit
                # would count as an administrator's, and could move the group back.
                return Outcome.LOST
            return await self._send(stale)

    async def _send(self, stale: Sequence[Partition]) -> Outcome:
        versions = [partition.version for partition in stale]
        positions: dict[object, tuple[int, str]] = {
            topic_partition(p.place): p.position() for p in stale
        }
        self._commit = commit = asyncio.create_task(self._consumer.commit(positions))
        try:
            await asyncio.wait({commit}, timeout=self._options.timeout)
        finally:
            if not commit.done():
                commit.cancel()
            self._commit = None
        if not commit.done() or commit.cancelled():
            return Outcome.UNKNOWN
        error = commit.exception()
        if error is not None:
            return Outcome.LOST if is_not_ours(error) else Outcome.UNKNOWN
        for partition, version in zip(stale, versions, strict=True):
            partition.durable = max(partition.durable, version)
        return Outcome.CONFIRMED

    async def _read(self) -> None:
        consumer, owner = self._consumer, self._owner
        try:
            while not self._is_leaving:
                self._throttle()
                room = owner.room()
                if room <= 0:
                    await self._idle()
                    continue
                try:
                    found = await consumer.getmany(timeout_ms=WAIT, max_records=min(room, MOST))
                except Exception as error:
                    lost = lost_position(error)
                    if lost is None:
                        raise
                    # The leaked counter does no harm: this task goes on reading.
                    for place, offset in lost.items():
                        await self._find_again(place, offset)
                    continue
                await self._listen_for_life(is_heard=bool(found))
                for place, records in found.items():
                    partition = self._partitions.get(place)
                    # What was read before the positions were known is read again: see `_assign`.
                    if partition is not None and not self._is_leaving:
                        owner.arrived(partition, records)
        except Exception as error:  # noqa: BLE001 - told by the next receive
            self._fail(error, "reading")

    async def _listen_for_life(self, *, is_heard: bool) -> None:
        """After a long silence ask for an answer: aiokafka retries for ever without a word."""
        now, bound = asyncio.get_running_loop().time(), self._options.timeout
        if is_heard or now - self._heard < bound:
            self._heard = now if is_heard else self._heard
            return
        for place in tuple(self._partitions)[:1]:
            asked = self._consumer.end_offsets([topic_partition(place)])
            await within(bound, asked, self._options, "asking whether anybody is there")
        self._heard = asyncio.get_running_loop().time()

    async def _find_again(self, place: TopicPartition, offset: int) -> None:
        """Go on with the oldest record of a log that has nothing at `offset`, and say so."""
        consumer, wanted = self._consumer, topic_partition(place)
        partition = self._partitions.get(place)
        if partition is None or position_of(consumer, place) != offset:
            return  # told of before we knew our position, or since then moved on
        doing = "looking up offsets"
        bound = self._options.timeout
        first = (await within(bound, consumer.beginning_offsets([wanted]), self._options, doing))[
            place
        ]
        if self._partitions.get(place) is not partition:
            return
        where = f"partition {place.partition} of topic {place.topic!r}"
        if first > offset:
            self._on_trimmed(first - offset)
            logger.warning(
                "%s: up to %d record(s) were deleted before group %r had read them, by retention "
                "or by hand; keep them for longer, or consume faster",
                *(where, first - offset, self._group),
            )
        else:
            # Its offsets mean other records now: nothing that was noted of them holds.
            logger.warning(
                "%s ends before offset %d, where group %r was: it was made anew, or truncated; "
                "going on with its oldest record",
                *(where, offset, self._group),
            )
            partition.is_ours = False
            self._owner.withdraw(partition)
            self._partitions[place] = Partition(place, first, read_metadata(first, ""))
            await within(bound, consumer.commit({wanted: (first, "")}), self._options, doing)
        consumer.seek(wanted, first)

    def lag(self) -> int | None:
        """Return how many offsets were not read yet, as far as the broker told."""
        return backlog_of(self._consumer, self._partitions) if self._partitions else 0

    def _throttle(self) -> None:
        """Stop reading partitions whose oldest unsettled record is far behind, until it is not."""
        for place, partition in self._partitions.items():
            size = len(partition.window)
            if size > PAUSE_AT and not partition.is_paused:
                self._consumer.pause(topic_partition(place))
                partition.is_paused = True
            elif partition.is_paused and size < PAUSE_AT // 2:
                self._consumer.resume(topic_partition(place))
                partition.is_paused = False

    async def _idle(self) -> None:
        """Wait for room; read nothing, but often enough to stay a member."""
        self.freed.clear()
        try:
            async with asyncio.timeout(IDLE):
                await self.freed.wait()
        except TimeoutError:
            await self._consumer.getmany(NO_PARTITION, timeout_ms=0)

    def _fail(self, error: Exception, doing: str) -> None:
        failure = translated(error, self._options, doing)
        if not self._assigned.done():
            self._assigned.set_exception(failure)
        self._owner.failed(failure)

    async def _revoke(self) -> None:
        await self._hand_over()

    async def _hand_over(self) -> None:
        """Commit what was settled so far, and forget all partitions: a new epoch begins."""
        self._owner.withdraw()
        partitions = list(self._partitions.values())
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT):
                await self.commit(partitions)
        except TimeoutError:
            # Race: aiokafka would send a commit again that the broker did not answer, then
            # under our next generation, where it would count.
            if self._commit is not None:
                self._commit.cancel()
        finally:
            for partition in partitions:
                partition.is_ours = False
            self._partitions = {}
            self._owner.revoked()

    async def _assign(self, assigned: Iterable[TopicPartition]) -> None:
        places = [TopicPartition(*place) for place in assigned]
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._begin(places)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            if not is_not_ours(error):  # then the group is joined again, and this called again
                self._fail(error, "looking up offsets")
        else:
            gone = [t for t in self._topics if not self._consumer.partitions_for_topic(t)]
            if gone and not places:
                words = (
                    f"Kafka at {self._options.where} knows no topic {gone[0]!r}: was it deleted?"
                )
                self._fail(ConnectionLost(words), "looking for topics")
            elif not self._assigned.done():
                self._assigned.set_result(None)

    async def _begin(self, places: Sequence[TopicPartition]) -> None:
        """Go to where the group is in `places`; where it is nowhere yet, commit its beginning."""
        consumer = self._consumer
        coordinator = coordinator_of(consumer)
        self._generation = coordinator.generation
        wanted = {place: topic_partition(place) for place in places}
        committed = await coordinator.fetch_committed_offsets(list(wanted.values()))
        known = {p: (c.offset, c.metadata or "") for p, c in committed.items() if c.offset >= 0}
        new = [place for place in places if place not in known]
        if new:
            first = dict(self._origins)
            unknown = [wanted[place] for place in new if place not in first]
            if unknown:
                first |= await consumer.beginning_offsets(unknown)
            begun = {place: (first[place], "") for place in new}
            await consumer.commit({wanted[place]: at for place, at in begun.items()})
            known |= begun
        if coordinator.generation != self._generation or self._is_leaving:
            return  # all of this is revoked already, and assigned anew after that
        for place in places:
            offset, metadata = known[place]
            # aiokafka may have read from here already: that is dropped and read again.
            consumer.seek(wanted[place], offset)
            self._partitions[place] = Partition(place, offset, read_metadata(offset, metadata))
