"""The one task that reads for a membership, as far as there is room and metadata for it.

It is never cancelled while the consumer lives: a cancelled `getmany` leaks a counter, and with it
the group never notices again that this consumer has stopped reading.

Longer than 300 lines: what becomes of a position, wherever it leads, is one loop's.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from acked.layers.kafka._client import position_of, topic_partition, within
from acked.layers.kafka._commit_metadata import MetadataLimit
from acked.layers.kafka._committer import Committer
from acked.layers.kafka._errors import lost_position
from acked.layers.kafka._lenient import LenientParsing
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._partition import Partition
from acked.layers.kafka._protocols import ConsumerClient, TopicPartition
from acked.layers.kafka._records import Fetched

__all__ = ("PartitionReader", "RecordTaker")

logger: Final = logging.getLogger("acked.layers.kafka")

MOST: Final = 250
"""Records taken at once, so that other tasks have their turn."""
WAIT: Final = 200
"""Milliseconds for which one read waits for records."""
WAIT_PAUSED: Final = 20
"""The same while a partition is paused: nothing else notes that it may be read again."""
PAUSE_AT: Final = 20_000
"""Records of a partition read beyond its oldest unsettled one, before it is paused."""
PAUSED_LONG: Final = 10.0
"""Seconds after which a paused partition is told of."""
IDLE: Final = 1.0
"""Seconds between signs of life while there is no room."""
NO_PARTITION: Final = topic_partition(TopicPartition("-", 0))
"""A partition nobody is assigned: reading only from it is a sign of life and takes nothing."""


class RecordTaker(Protocol):
    """Who takes what is read."""

    def room(self) -> int:
        """Return how many more records there is room for."""
        ...

    def arrived(self, partition: Partition, records: list[Fetched]) -> None:
        """Take what was read from `partition`, and empty `records`."""
        ...


class Member(Protocol):
    """Whom the partitions belong to."""

    async def replace(self, partition: Partition, offset: int) -> None:
        """Read on at `offset` in a log that is not the one `partition` was of."""
        ...

    def failed(self, error: Exception, doing: str) -> None:
        """Give up, for `error` happened."""
        ...


class PartitionReader:
    """Reads the partitions of one membership."""

    def __init__(
        self,
        consumer: ConsumerClient,
        options: KafkaOptions,
        partitions: Mapping[TopicPartition, Partition],
        limit: MetadataLimit,
        committer: Committer,
        *,
        owner: RecordTaker,
        member: Member,
        on_trimmed: Callable[[TopicPartition, int], None],
    ) -> None:
        self.freed: Final = asyncio.Event()
        """Set when there may be room again."""
        self._consumer = consumer
        self._options = options
        self._partitions = partitions
        self._limit = limit
        self._committer = committer
        self._owner = owner
        self._member = member
        self._on_trimmed = on_trimmed
        self._parsing = LenientParsing(consumer)
        self._task: asyncio.Task[None] | None = None
        self.is_stopped = False
        self.is_held = True
        """While partitions are distributed: what comes now may not be ours."""
        self._heard = asyncio.get_running_loop().time()
        self._outdated: set[Partition] = set()
        """Of logs that are gone: others have their names."""

    def start(self) -> None:
        """Begin to read what is assigned."""
        self._parsing.start()
        self._task = asyncio.create_task(self._read())

    def stop(self) -> None:
        """Read no more."""
        self.is_stopped = True
        self.freed.set()

    def go_on(self, partition: Partition) -> None:
        """Read `partition` from where it is on; a rebalance has reset what aiokafka knows of it."""
        where = topic_partition(partition.place)
        self._consumer.seek(where, partition.next_offset)
        if partition.paused_since is not None or partition.is_leaving:
            self._consumer.pause(where)
        else:
            self._consumer.resume(where)

    def leave(self, partition: Partition) -> None:
        """Read nothing more of `partition`: another member waits for it."""
        partition.is_leaving = True
        self._consumer.pause(topic_partition(partition.place))

    def stay(self, partition: Partition) -> None:
        """Take `leave` back."""
        partition.is_leaving = False
        self.go_on(partition)

    def read_anew(self, topics: Collection[str]) -> None:
        """Read what we have of `topics` from its first record: they were made anew."""
        self._outdated |= {one for at, one in self._partitions.items() if at.topic in topics}

    async def ended(self) -> None:
        """Wait, shortly, until nothing is read any more."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=WAIT / 1000)
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _read(self) -> None:
        try:
            while not self.is_stopped:
                self._parsing.end_if_due(asyncio.get_running_loop().time())
                if self._outdated and not self.is_held:
                    await self._leave_outdated()
                most = MOST if self.is_held else self._throttle()
                room = self._owner.room()
                if room <= 0 or self._is_all_paused():
                    await self._idle()
                else:
                    await self._take(min(room, most))
        except Exception as error:  # noqa: BLE001 - told by the next receive
            self._member.failed(error, "reading")

    async def _take(self, most: int) -> None:
        try:
            wait = WAIT_PAUSED if any(map(_is_paused, self._partitions.values())) else WAIT
            found = await self._consumer.getmany(timeout_ms=wait, max_records=most)
        except UnicodeDecodeError:
            self._read_leniently()
            return
        except Exception as error:
            lost = lost_position(error)
            if lost is None:
                raise
            # The leaked counter does no harm: this task goes on reading.
            for place, offset in lost.items():
                await self._find_again(place, offset)
            return
        if self.is_held:
            return  # it is read again when it is known where
        for place, records in found.items():
            partition = self._partitions.get(place)
            if partition is not None and not partition.is_leaving:
                self._owner.arrived(partition, records)
        await self._finish()
        await self._listen_for_life(is_heard=bool(found))

    async def _leave_outdated(self) -> None:
        """Go to the first record of logs that have the names of ours; unless others have them."""
        outdated, self._outdated = self._outdated, set()
        for partition in outdated:
            if partition.is_ours:
                logger.warning(
                    "partition %d of topic %r is another one: the topic was deleted and made anew; "
                    "going on with its first record",
                    *(partition.place.partition, partition.place.topic),
                )
                await self._member.replace(partition, 0)

    def _read_leniently(self) -> None:
        """Read again what aiokafka gave up on: it takes the names of headers for UTF-8."""
        self._parsing.begin(asyncio.get_running_loop().time())
        for place, partition in self._partitions.items():
            if position_of(self._consumer, place) is not None:
                self._consumer.seek(topic_partition(place), partition.next_offset)

    async def _finish(self) -> None:
        """Let the commits reach the end where only marks of transactions are left before it."""
        done = [
            partition
            for place, partition in self._partitions.items()
            if not partition.is_leaving
            and (position := position_of(self._consumer, place)) is not None
            and partition.read_to(position)
        ]
        if done:
            await self._committer.flush(done)

    async def _listen_for_life(self, *, is_heard: bool) -> None:
        """After a long silence ask for an answer: aiokafka retries for ever without a word."""
        now = asyncio.get_running_loop().time()
        if is_heard:
            self._heard = now
        elif now - self._heard >= self._options.timeout:
            await self._ask_for_ends("asking whether anybody is there")
            self._heard = asyncio.get_running_loop().time()

    async def _ask_for_ends(self, doing: str) -> None:
        places = [topic_partition(place) for place in self._partitions]
        if not places:
            return
        asked = self._consumer.end_offsets(places)
        ends = await within(self._options.timeout, asked, self._options, doing)
        for place, end in ends.items():
            if (partition := self._partitions.get(place)) is not None:
                partition.end = end

    async def _find_again(self, place: TopicPartition, offset: int) -> None:
        """Go on with the oldest record of a log that has nothing at `offset`, and say so."""
        consumer, wanted = self._consumer, topic_partition(place)
        partition = self._partitions.get(place)
        if self.is_held or partition is None or position_of(consumer, place) != offset:
            return  # told of before we knew our position, or since then moved on
        asked = consumer.beginning_offsets([wanted])
        found = await within(self._options.timeout, asked, self._options, "looking up offsets")
        first = found[place]
        if self._partitions.get(place) is not partition:
            return
        if first > offset:
            self._on_trimmed(place, first - offset)
            consumer.seek(wanted, first)
        else:
            # Its offsets mean other records now: nothing that was settled of them holds.
            logger.warning(
                "partition %d of topic %r ends before offset %d, where we were: it was made anew, "
                "or truncated; going on with its oldest record",
                *(place.partition, place.topic, offset),
            )
            await self._member.replace(partition, first)

    def _throttle(self) -> int:
        """Pause what is too far behind its oldest unsettled record; return how many to read.

        Whatever is settled of what is read can be kept: the rest waits.
        """
        room, most = self._limit.room, MOST
        for partition in self._partitions.values():
            if partition.is_leaving:
                continue
            spare, size = partition.spare(room), len(partition.window)
            if partition.paused_since is None:
                if spare <= room // 24 or size > PAUSE_AT:
                    self._pause(partition)
                else:
                    most = min(most, spare)
            elif not size or (spare > room // 6 and size < PAUSE_AT // 2):
                self._consumer.resume(topic_partition(partition.place))
                partition.paused_since = None
            else:
                self._tell_if_long(partition)
        return most

    def _is_all_paused(self) -> bool:
        """Say whether only a settlement can bring more: whoever has settled wakes `_idle`."""
        partitions = self._partitions.values()
        return bool(partitions) and not self.is_held and all(map(_is_paused, partitions))

    def _pause(self, partition: Partition) -> None:
        self._consumer.pause(topic_partition(partition.place))
        partition.paused_since = asyncio.get_running_loop().time()

    def _tell_if_long(self, partition: Partition) -> None:
        now = asyncio.get_running_loop().time()
        if partition.paused_since is None or now - partition.paused_since < PAUSED_LONG:
            return
        partition.paused_since = float("inf")  # once for each pause
        logger.warning(
            "partition %d of topic %r is not read on: of %d records after the oldest unsettled one "
            "(offset %s) too much is settled or waits to be; settle that one",
            *(*reversed(partition.place), len(partition.window), partition.oldest),
        )

    async def _idle(self) -> None:
        """Wait for room; read nothing, but often enough to stay a member and to know the lag."""
        self.freed.clear()
        try:
            async with asyncio.timeout(IDLE):
                await self.freed.wait()
        except TimeoutError:
            await self._consumer.getmany(NO_PARTITION, timeout_ms=0)
            await self._ask_for_ends("asking how far behind the group is")


def _is_paused(partition: Partition) -> bool:
    return partition.paused_since is not None
