"""Commits what a successor must know before it is true: what is handed out, and what alone."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeAlias, cast

from acked.errors import LayerError
from acked.layers.kafka._backlog import Backlog
from acked.layers.kafka._partition import DeliveryToken, Partition

__all__ = ("CommitNotes", "Noting")

CommitNotes: TypeAlias = Callable[
    [Collection[Partition]], Awaitable[Mapping[Partition, LayerError]]
]
"""Commits for so many partitions; returns what went wrong."""


class Noting:
    """Keeps the notes of one consumer true; see `_custody`."""

    def __init__(self, backlog: Backlog, commit: CommitNotes) -> None:
        self._backlog = backlog
        self._commit = commit

    async def let_hand_out(self, limit: int) -> bool:
        """Return whether the notes let the next `limit` records be handed out; else write them.

        Raises `LayerError` if that cannot be done now.
        """
        tokens = cast("list[DeliveryToken]", [one.token for one in self._backlog.peek(limit)])
        last = {token.partition: token.offset for token in tokens}
        beyond = {one: offset for one, offset in last.items() if offset > one.custody.reach}
        if beyond:
            for partition, offset in beyond.items():
                partition.custody.open_to(offset)
            await self._write(beyond)
            return False
        for partition, offset in last.items():
            partition.custody.handed_out(offset)
        return True

    async def note_alone(self, token: DeliveryToken, *, alone: bool) -> None:
        """Note that `token` is handled alone, or not any more; raises `LayerError`."""
        partition, custody = token.partition, token.partition.custody
        custody.handle(token.offset, alone=alone)
        try:
            await self._write([partition])
            if alone:
                _check_room(partition)
        except LayerError:
            custody.handle(token.offset, alone=False)
            partition.note_anew()
            raise

    async def nacked(self, tokens: Sequence[DeliveryToken]) -> None:
        """Note that `tokens` were nacked: with the next commit, or now if one was alone."""
        await self._forget([one for one in tokens if one.partition.custody.nacked(one.offset)])

    async def released(self, tokens: Sequence[DeliveryToken]) -> None:
        """Note that `tokens` were given back: now if one was alone."""
        await self._forget([one for one in tokens if one.partition.custody.released(one.offset)])

    async def _forget(self, noted: Sequence[DeliveryToken]) -> None:
        partitions = {token.partition for token in noted}
        for partition in partitions:
            partition.note_anew()
        if partitions:
            await self._commit(partitions)

    async def _write(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            partition.note_anew()
        for error in (await self._commit(partitions)).values():
            raise error


def _check_room(partition: Partition) -> None:
    if not partition.custody.is_noted:
        raise LayerError(
            "the brokers keep too few characters beside a commit to note who is handled alone: "
            "raise offset.metadata.max.bytes"
        )
