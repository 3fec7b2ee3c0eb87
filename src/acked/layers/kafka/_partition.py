"""One partition while it is assigned to us: what was delivered, what is settled, what to commit.

A partition object lives from one assignment to the next, so it is the epoch of every token: after
a rebalance the same partition is another object, and a token of the old one settles nothing.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from acked._machines.window import Window
from acked.layers.kafka._commit_metadata import CommitMetadata, written_metadata
from acked.layers.kafka._protocols import TopicPartition

__all__ = ("DeliveryToken", "Partition")


class Position(NamedTuple):
    """What to commit: the next offset to read, and the note beside it."""

    offset: int
    note: str


class Partition:
    """The delivered records of one assignment of one partition.

    Offsets below `committed` are settled; of the later ones, those that `note` covers.
    """

    __slots__ = (
        "_committed",
        "_highest",
        "_last",
        "_later",
        "_note",
        "durable",
        "is_ours",
        "is_paused",
        "place",
        "version",
        "window",
    )

    def __init__(self, place: TopicPartition, committed: int, note: CommitMetadata) -> None:
        self.place: Final = place
        self.is_ours = True
        """Until the partition is revoked."""
        self.is_paused = False
        self.window: Final = Window()
        self.version = 0
        """How many settlements were noted; each is durable once a commit covered it."""
        self.durable = 0
        self._committed = committed
        self._note = note
        self._later = set(note.unsettled)
        self._highest = note.highest
        self._last = committed - 1

    def __repr__(self) -> str:
        topic, partition = self.place
        return f"<Partition {topic}/{partition}, {len(self.window)} unsettled>"

    def arrived(self, offsets: Sequence[int]) -> Sequence[int]:
        """Note that `offsets`, at least one, were fetched; return those that are still owed.

        Raises `ValueError` if one is not above all before: the log is not what it was.
        """
        self.window.deliver(*offsets)
        self._last = offsets[-1]
        note = self._note
        if offsets[0] > note.highest:
            return offsets
        self.window.settle(*[offset for offset in offsets if note.covers(offset)])
        return [offset for offset in offsets if not note.covers(offset)]

    def settle(self, offsets: Sequence[int]) -> None:
        """Note that `offsets`, at least one, are settled: `version` is raised by one."""
        self.window.settle(*offsets)
        self._highest = max(self._highest, *offsets)
        self.version += 1

    def position(self) -> Position:
        """Return what to commit now: never below an earlier one, nor past what was delivered."""
        frontier = self.window.frontier
        if frontier is not None:
            self._committed = max(self._committed, frontier + 1)
        if self._highest < self._committed:
            return Position(self._committed, "")
        later = (offset for offset in self._later if offset > self._last)
        unsettled = sorted([*self.window.unsettled, *later])
        return Position(
            self._committed, written_metadata(self._committed, self._highest, unsettled)
        )


class DeliveryToken(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What tokens of this layer are: each one delivery of one record of one assignment."""

    partition: Partition
    offset: int
