"""Partitions that another member is to have: given up once nothing of them is in hand."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, cast

from acked.layers.kafka._backlog import Backlog
from acked.layers.kafka._committer import Committer
from acked.layers.kafka._partition import DeliveryToken, Partition
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._reader import PartitionReader
from acked.types import Leased, Token

__all__ = ("HandOver", "Holder", "tell_lost")

logger: Final = logging.getLogger("acked.layers.kafka")

LOOK_AGAIN: Final = 0.05
"""Seconds between two looks at whether a partition is free to go."""


class Holder(Protocol):
    """Who has messages in hand."""

    @property
    def backlog(self) -> Backlog:
        """Return what waits to be handed out."""
        ...

    @property
    def held(self) -> Mapping[Token, Leased]:
        """Return what is handed out and not settled."""
        ...


class HandOver:
    """Lets the running handlers of a partition end, within a bound, before it goes."""

    def __init__(
        self,
        holder: Holder,
        reader: PartitionReader,
        committer: Committer,
        *,
        timeout: float,
        drop: Callable[[Sequence[Partition]], None],
    ) -> None:
        self._holder = holder
        self._reader = reader
        self._committer = committer
        self._timeout = timeout
        self._drop = drop
        self._task: asyncio.Task[None] | None = None
        self._leaves_at: dict[Partition, float] = {}

    def begin(
        self, partitions: Mapping[TopicPartition, Partition], wanted: Sequence[TopicPartition]
    ) -> None:
        """Of `partitions`, all that we have, give up those that are `wanted`; keep the others."""
        bound = asyncio.get_running_loop().time() + self._timeout
        leaves_at: dict[Partition, float] = {}
        for place, partition in partitions.items():
            if place in wanted:
                leaves_at[partition] = self._leaves_at.get(partition, bound)
                self._reader.leave(partition)
                self._holder.backlog.withhold(partition)
            elif partition.is_leaving:
                self._reader.stay(partition)
                self._holder.backlog.hand_out_again(partition)
        self._leaves_at = leaves_at
        if leaves_at:
            self._task = asyncio.create_task(self._wait_and_drop())

    def replaced(self, partition: Partition, successor: Partition) -> None:
        """Give up `successor` as `partition` would have been, if at all."""
        if (at := self._leaves_at.pop(partition, None)) is not None:
            self._leaves_at[successor] = at

    def stop(self) -> None:
        """Give nothing up for now: partitions are distributed, or the group is left."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _wait_and_drop(self) -> None:
        """Wait until something of it is free to go, and let it go."""
        loop = asyncio.get_running_loop()
        while not (free := self._free_to_go(loop.time())):  # noqa: ASYNC110 - every ack would set it
            await asyncio.sleep(LOOK_AGAIN)
        await self._committer.let_go(free)
        self._drop(free)

    def _free_to_go(self, now: float) -> Sequence[Partition]:
        tokens = cast("Iterable[DeliveryToken]", self._holder.held)
        in_hand = {token.partition for token in tokens}
        return [p for p, at in self._leaves_at.items() if now >= at or p not in in_hand]


def tell_lost(group: str, place: TopicPartition, in_hand: int) -> None:
    """Say that `place` went while so many of its messages were in hand, if any."""
    if in_hand:
        logger.warning(
            "partition %d of topic %r went to another member of group %r while %d message(s) of "
            "it were in hand: they may come there, too, and cannot be settled here any more; "
            "handle them faster, or give a longer handover_timeout=",
            *(place.partition, place.topic, group, in_hand),
        )
