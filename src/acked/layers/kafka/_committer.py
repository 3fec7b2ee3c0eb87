"""What a membership commits: never under a generation in which a partition may be another's.

Between the two calls of aiokafka, "revoked" and "assigned", nothing is committed: aiokafka names
the generation of the moment, and not the one in which a record was read.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, cast

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._client import coordinator_of, topic_partition, within
from acked.layers.kafka._commit_metadata import MetadataLimit, read_metadata
from acked.layers.kafka._errors import (
    is_answer,
    is_metadata_too_large,
    is_not_ours,
    translated,
)
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._partition import Commit, Partition, Position
from acked.layers.kafka._protocols import ConsumerClient, TopicPartition
from acked.layers.kafka._topics import committed_of

__all__ = ("Committer",)

REVOKE_TIMEOUT: Final = 2.0
"""Seconds for the last commit before partitions are distributed anew."""


class Committer:
    """Commits as one member of a group, one request at a time."""

    def __init__(
        self, consumer: ConsumerClient, options: KafkaOptions, group: str, limit: MetadataLimit
    ) -> None:
        self._consumer = consumer
        self._options = options
        self._group = group
        self._limit = limit
        self._generation = -1
        self._is_distributing = True
        self._distributed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when partitions were distributed the next time, or never will be."""
        self._committing = asyncio.Lock()
        self._commit: asyncio.Task[None] | None = None
        self._is_closed = False

    def suspend(self) -> None:
        """Commit nothing until `resume`: partitions are distributed."""
        self._is_distributing = True

    def resume(self, generation: int) -> None:
        """Go on in `generation`: what is ours in it is known."""
        if self._is_closed:
            return
        self._generation = generation
        self._is_distributing = False
        self._distributed.set_result(None)
        self._distributed = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Let nobody wait any more."""
        self._is_closed = True
        self._distributed.cancel()

    async def commit(self, touched: Collection[Partition]) -> Mapping[Partition, LayerError]:
        """Commit what was settled in `touched` in one request, if it is not durable yet.

        Return what went wrong, and where. While partitions are distributed it waits for that, and
        commits what stayed ours.
        """
        loop = asyncio.get_running_loop()
        given_up = loop.time() + self._options.timeout
        while True:
            distributed = self._distributed
            async with self._committing:
                stale = [p for p in touched if p.is_ours and p.durable < p.version]
                if not stale:
                    return {}
                if self._is_current():
                    errors = await self._send_apart(stale)
                    if not any(map(is_not_ours, errors.values())):
                        return {p: self._translated(error) for p, error in errors.items()}
            await asyncio.wait({distributed}, timeout=max(0.0, given_up - loop.time()))
            if self._is_closed or loop.time() >= given_up:
                words = f"group {self._group!r} was not joined again in time"
                lost = ConnectionLost(f"Kafka at {self._options.where}: {words}")
                return dict.fromkeys((p for p in touched if p.is_ours), lost)

    async def flush(self, partitions: Collection[Partition]) -> None:
        """Commit what was settled in them so far, in short time; else it comes again."""
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT), self._committing:
                stale = [p for p in partitions if p.is_ours and p.durable < p.version]
                if stale and self._is_current():
                    await self._send(stale)
        except TimeoutError:
            # Race: aiokafka would send a commit again that the broker did not answer, then
            # under our next generation, where it would count.
            if self._commit is not None:
                self._commit.cancel()

    async def let_go(self, partitions: Collection[Partition]) -> None:
        """Commit what was settled in them, as `flush` does, and that we have them no more."""
        for partition in partitions:
            if partition.custody.close():
                partition.note_anew()
        await self.flush(partitions)

    async def settled_of(
        self, wanted: Collection[tuple[TopicPartition, int]]
    ) -> set[tuple[TopicPartition, int]]:
        """Return those of `wanted` that the group has settled, as the broker has it now."""
        places = {topic_partition(place) for place, _ in wanted}
        asked = committed_of(self._consumer, list(places))
        committed = await within(self._options.timeout, asked, self._options, "looking up offsets")
        found = {
            place: (one.offset, read_metadata(one.offset, one.metadata or ""))
            for place, one in committed.items()
        }
        return {
            (place, offset)
            for place, offset in wanted
            if place in found and (offset < found[place][0] or found[place][1].covers(offset))
        }

    def _is_current(self) -> bool:
        """Return whether what we have was assigned in the generation that a commit would name.

        Race: the membership may have ended, and nobody told us yet. Without one, a commit would
        count as an administrator's, and could move the group back.
        """
        current = coordinator_of(self._consumer).generation
        return not self._is_distributing and current == self._generation

    async def _send_apart(self, stale: Sequence[Partition]) -> Mapping[Partition, Exception]:
        """Commit, and return what went wrong; a refusal of one partition is not another's."""
        error = await self._send(stale)
        if error is None:
            return {}
        if len(stale) == 1 or not is_answer(error):
            return dict.fromkeys(stale, error)
        found = {partition: await self._send([partition]) for partition in stale}
        return {partition: one for partition, one in found.items() if one is not None}

    async def _send(self, stale: Sequence[Partition]) -> Exception | None:
        """Commit, and return why not; with shorter metadata if the broker finds it too long."""
        while True:
            commits = [partition.commit(self._limit.room) for partition in stale]
            error = await self._sent(stale, commits)
            longest = max(len(commit.position.metadata) for commit in commits)
            if error is None:
                break
            if not (is_metadata_too_large(error) and self._limit.refused(longest)):
                return error
        for partition, commit in zip(stale, commits, strict=True):
            partition.confirm(commit)
        return None

    async def _sent(
        self, stale: Iterable[Partition], commits: Iterable[Commit]
    ) -> Exception | None:
        positions: Mapping[object, Position] = {
            topic_partition(partition.place): commit.position
            for partition, commit in zip(stale, commits, strict=True)
        }
        self._commit = commit = asyncio.create_task(self._consumer.commit(positions))
        try:
            await asyncio.wait({commit}, timeout=self._options.timeout)
        finally:
            if not commit.done():
                commit.cancel()
            self._commit = None
        if not commit.done() or commit.cancelled():
            return TimeoutError()
        return cast("Exception | None", commit.exception())

    def _translated(self, error: Exception) -> LayerError:
        return translated(error, self._options, f"committing for group {self._group!r}")

    def no_room(self) -> LayerError:
        """Return why something was not kept though the broker took the commit."""
        return LayerError(
            f"Kafka at {self._options.where} keeps {self._limit.characters} characters beside a "
            "commit (offset.metadata.max.bytes), too few for what is settled before others here: "
            "settle the earlier ones first, or raise it",
            may_pass=True,
        )
