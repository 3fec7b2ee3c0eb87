"""One partition while it is assigned to us: what was delivered, what is held, what to commit.

A partition object lives from one assignment to the next, so it is the epoch of every token: after
a rebalance the same partition is another object, and a token of the old one settles nothing.
"""

from typing import Final, NamedTuple, TypeAlias

from acked._machines.window import Window
from acked.layers._kafka_client import Place
from acked.layers._kafka_note import Note, written_note
from acked.types import Leased

__all__ = ("Partition", "TokenOf")


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
        "held",
        "is_ours",
        "is_paused",
        "place",
        "version",
        "window",
    )

    def __init__(self, place: Place, committed: int, note: Note) -> None:
        self.place: Final = place
        self.is_ours = True
        """Until the partition is revoked."""
        self.is_paused = False
        self.held: Final[dict[int, Leased]] = {}
        """By offset, what was handed out and is not settled, nor given back."""
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
        return f"<Partition {topic}/{partition}, {len(self.held)} held>"

    def arrived(self, offset: int) -> bool:
        """Note that `offset` was fetched; return whether it is still owed.

        Raises `ValueError` if it is not above all before: the log is not what it was.
        """
        self.window.deliver(offset)
        self._last = offset
        if self._note.covers(offset):
            self.window.settle(offset)
            return False
        return True

    def settle(self, offset: int) -> int:
        """Note that `offset` is settled; return the version from which on that is durable."""
        del self.held[offset]
        self.window.settle(offset)
        self._highest = max(self._highest, offset)
        self.version += 1
        return self.version

    def position(self) -> Position:
        """Return what to commit now: never below an earlier one, nor past what was delivered."""
        frontier = self.window.frontier
        if frontier is not None:
            self._committed = max(self._committed, frontier + 1)
        if self._highest < self._committed:
            return Position(self._committed, "")
        later = (offset for offset in self._later if offset > self._last)
        unsettled = sorted([*self.window.unsettled, *later])
        return Position(self._committed, written_note(self._committed, self._highest, unsettled))


TokenOf: TypeAlias = tuple[Partition, int, int]
"""What tokens of this layer are: the assigned partition, the offset, the attempt."""
