"""One partition while it is ours: what was delivered, what is settled, what to commit.

A partition object lives as long as nobody else can have had the partition: over a rebalance that
leaves it with us, too. So it is the epoch of every token: when the partition comes back later it
is another object, and a token of the old one settles nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from acked._machines.window import Window
from acked.layers.kafka._commit_metadata import (
    read_metadata,
    spare_records,
    written_metadata,
)
from acked.layers.kafka._custody import Custody, note_of, note_room
from acked.layers.kafka._protocols import TopicPartition

__all__ = ("DeliveryToken", "Partition", "Position")


class Position(NamedTuple):
    """What is committed: the next offset to read, and the metadata beside it."""

    offset: int
    metadata: str


class Commit(NamedTuple):
    """A commit on its way: of which state of the partition, and what holds once it is there."""

    position: Position
    version: int
    kept: int
    """Up to where it covers what is settled."""
    reach: int
    """Up to where it lets hand out."""


class Partition:
    """The delivered records of one partition, from when it became ours.

    Offsets below `committed` are settled; of the later ones, those that its metadata covers. With
    `instead_of`, a partition of ours whose log is gone, the position is still to be committed.
    """

    __slots__ = (
        "_committed",
        "_confirmed",
        "_highest",
        "_kept",
        "_last",
        "_later",
        "_metadata",
        "_refused",
        "_unconfirmed",
        "custody",
        "durable",
        "end",
        "is_leaving",
        "is_ours",
        "paused_since",
        "place",
        "version",
        "window",
    )

    def __init__(
        self,
        place: TopicPartition,
        position: Position,
        owner: int,
        *,
        instead_of: "Partition | None" = None,
    ) -> None:
        metadata = read_metadata(*position)
        self.place: Final = place
        self.custody: Final = Custody(
            owner, note_of(metadata.note, position.offset), position.offset
        )
        """What is said of it to whoever has it after us."""
        self.is_ours = True
        """Until somebody else may have it."""
        self.is_leaving = False
        """Another member waits for it: nothing of it is read or handed out any more."""
        self.paused_since: float | None = None
        """Since when it is not read, for it is too far behind its oldest unsettled record."""
        self.end = 0
        """The offset of the next record of the log, as we last asked."""
        self.window: Final = Window()
        self.version = 0
        """How many changes there were; each is durable once a commit covered it."""
        self.durable = 0
        self._confirmed = {position}
        """What the broker has for us: what it said, or may have since and did not say."""
        self._committed = position.offset
        self._metadata = metadata
        self._later = set(metadata.unsettled)
        self._highest = self._kept = metadata.highest
        self._last = position.offset - 1
        self._unconfirmed: dict[int, int] = {}
        """Settled here, and not known to be at the broker's: in which version."""
        self._refused: set[int] = set()
        """Settled here, and refused by the broker: still owed, whatever `window` says."""
        if instead_of is not None:
            self.is_leaving = instead_of.is_leaving
            # Until ours is committed the broker has what it had for the other.
            self._confirmed |= instead_of._confirmed  # noqa: SLF001 - of its own kind
            self.note_anew()

    def __repr__(self) -> str:
        topic, partition = self.place
        return f"<Partition {topic}/{partition}, {len(self.window)} unsettled>"

    @property
    def next_offset(self) -> int:
        """The offset after the last that was delivered."""
        return self._last + 1

    @property
    def oldest(self) -> int | None:
        """The offset of the first record that is delivered and not settled."""
        return self.window.oldest

    def arrived(self, offsets: Sequence[int]) -> Sequence[int]:
        """Note that `offsets`, at least one, were fetched; return those that are still owed.

        Raises `ValueError` if one is not above all before: the log is not what it was.
        """
        self.window.deliver(*offsets)
        self._came_to(offsets[-1])
        metadata = self._metadata
        if offsets[0] > metadata.highest:
            return offsets
        self.window.settle(*[offset for offset in offsets if metadata.covers(offset)])
        return [offset for offset in offsets if not metadata.covers(offset)]

    def read_to(self, offset: int) -> bool:
        """Note that there is no record up to `offset` that was not delivered.

        Marks of transactions and what compaction removed are skipped so, and the commit reaches
        the end of the log. Return whether a commit can say so now.
        """
        if offset <= self.next_offset:
            return False
        self._came_to(offset - 1)
        if self.window.unsettled_count or self._refused:
            return False
        self.version += 1
        return True

    def note_anew(self) -> None:
        """Let the next commit say what `custody` says by now, though nothing more is settled."""
        self.version += 1

    def spare(self, room: int) -> int:
        """Return how many more records may be read, so that whatever is settled can be kept.

        `room` is what the commit's metadata takes, in bytes.
        """
        known = len(self._later)  # they come again, and are counted already
        unsettled = known + len(self._refused) + self.window.unsettled_count
        span = max(self._last, self._highest) - self._committed
        return known + spare_records(unsettled, span, room - note_room(room))

    def settle(self, offsets: Sequence[int]) -> None:
        """Note that `offsets`, at least one, are settled: `version` is raised by one.

        Those whose settlement was not confirmed, or refused, before may be among them.
        """
        fresh = offsets
        if self._unconfirmed or self._refused:
            before = self._unconfirmed.keys() | self._refused
            fresh = [offset for offset in offsets if offset not in before]
            self._refused.difference_update(offsets)
        if fresh:
            self.window.settle(*fresh)
            self._highest = max(self._highest, *fresh)
        self.version += 1

    def not_kept(self, offsets: Sequence[int], version: int) -> Collection[int]:
        """Return which of `offsets`, settled in `version`, the broker has not confirmed.

        They may be settled again.
        """
        if self.durable >= version and not self._unconfirmed and max(offsets) <= self._kept:
            return ()
        kept = self._kept if self.durable >= version else -1
        for offset in offsets:
            if offset <= kept:
                self._unconfirmed.pop(offset, None)
            else:
                self._unconfirmed[offset] = version
        return self._unconfirmed

    def refuse(self, offsets: Iterable[int]) -> None:
        """Note that the broker refused to settle `offsets`: no later commit may say they are."""
        for offset in offsets:
            self._unconfirmed.pop(offset, None)
            self._refused.add(offset)
        # What we asked for and did not get is no commit: the next one begins before it.
        self._committed = min([self._committed, *self._refused])

    def is_undecided(self, offset: int) -> bool:
        """Return whether `offset` was settled here, and nobody knows whether at the broker's."""
        return offset in self._unconfirmed

    def is_settled(self, offset: int) -> bool:
        """Return whether an earlier settlement of `offset`, not confirmed then, has reached it."""
        version = self._unconfirmed.get(offset)
        return version is not None and version <= self.durable and offset <= self._kept

    def commit(self, room: int) -> Commit:
        """Return what to commit now: never past what was delivered, nor before an earlier one.

        Unless that was refused.
        """
        committed = self._committed = max(self._committed, self._reached())
        note, reach = self.custody.note(committed, self._is_owed, self._last, note_room(room))
        metadata, kept = written_metadata(
            committed, self._highest, self._unsettled_below(), room, note
        )
        position = Position(committed, metadata)
        self._confirmed.add(position)
        return Commit(position, self.version, kept, reach)

    def confirm(self, commit: Commit) -> None:
        """Note that the broker has taken `commit`."""
        self.durable = max(self.durable, commit.version)
        self._kept = commit.kept
        self.custody.reach = commit.reach
        self._confirmed = {commit.position}

    def is_at(self, position: Position) -> bool:
        """Return whether `position`, which the broker has, is of our own commits."""
        return position in self._confirmed

    def _came_to(self, offset: int) -> None:
        self._last = offset
        if self._later:  # those that did not come are not there any more
            self._later = {one for one in self._later if one > offset}

    def _reached(self) -> int:
        """Return the offset before which everything is settled."""
        first, frontier = self.window.oldest, self.window.frontier
        owed = [*self._later, *self._refused]
        if first is not None:
            owed.append(first)
        if not owed:
            return self.next_offset
        return min([*owed, self._committed if frontier is None else frontier + 1])

    def _unsettled_below(self) -> list[int]:
        """Return what is unsettled before the last settled record: no more is ever written."""
        found = self.window.unsettled_to(self._highest)
        if self._later or self._refused:
            found = sorted([*found, *self._later, *self._refused])
        return found

    def _is_owed(self, offset: int) -> bool:
        window = self.window
        return window.is_unsettled(offset) or offset in self._later or offset in self._refused


class DeliveryToken(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What tokens of this layer are: each one delivery of one record."""

    partition: Partition
    offset: int
