"""What a successor must know of a partition whose consumer dies: what it had handed out, and alone.

Kafka counts no deliveries. So each commit has a note beside what is settled: whose the partition is
and how far it may have been handed out (`reach`), which records were handed out alone, which former
owners died, and how often records were nacked.

Rules:

1. Nothing beyond `reach` is handed out before a commit with a larger one is confirmed. Commits that
   are made anyway move it ahead, by more than was handed out between two of them: so at a steady
   pace none is made for it alone.
2. Who gives a partition up in good order leaves a note without an owner. Who finds the note of
   another owner has it from a consumer that died, or was cut off: whatever is unsettled up to its
   `reach` is charged one delivery, and what it handled alone has ended it.
3. A charge too much is no harm, for charges only make a last chance come sooner (see
   `acked._machines.last_chance`). So of many deaths some count for more records than they had.
4. Nacks of an owner that died before it committed again are forgotten. Where there is no room for a
   note at all nothing is counted.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from acked.layers.kafka._commit_metadata import packed

__all__ = ("NOBODY", "Custody", "CustodyNote", "note_of", "note_room", "numbers_of")

NOBODY: Final = 0
SPARE: Final = 32
"""Offsets that may be handed out beyond what the pace asks for."""
MOST_BOUNDS: Final = 8
"""Reaches of owners that died, that are told apart."""
MOST_ROOM: Final = 128
"""Bytes for a note."""


def note_room(room: int) -> int:
    """Return how many of the `room` bytes that a commit's metadata takes are for the note."""
    return min(MOST_ROOM, room // 4)


class CustodyNote(NamedTuple):
    """What a commit says of who has the partition; all in offsets."""

    owner: int = NOBODY
    reach: int = -1
    alone: Sequence[int] = ()
    """What is handled alone, and once more for each earlier owner that it has ended so."""
    deaths: Sequence[tuple[int, int]] = ()
    """The reaches of owners that died, and of how many."""
    failures: Sequence[tuple[int, int]] = ()
    """What was nacked, and how often."""


def numbers_of(note: CustodyNote, committed: int, room: int) -> Sequence[int]:
    """Return `note` as numbers that take no more than `room` bytes; none if it says nothing.

    The nacks that do not fit are left out first, then deaths; without the rest it is no note.
    """
    if not (note.owner or note.alone or note.deaths or note.failures):
        return ()
    deaths, failures = note.deaths, note.failures
    while True:
        numbers = [
            note.owner,
            max(0, note.reach + 1 - committed),
            *(len(note.alone), *(offset - committed for offset in note.alone)),
            *(len(deaths), *_flat(deaths, committed), *_flat(failures, committed)),
        ]
        if len(packed(numbers)) <= room:
            return numbers
        if not (deaths or failures):
            return ()
        if failures:
            failures = failures[: len(failures) // 2]
        else:
            deaths = deaths[1:]


def note_of(numbers: Sequence[int], committed: int) -> CustodyNote:
    """Return the note that is written as `numbers`, beside a commit of `committed`."""
    if len(numbers) < 4:
        return CustodyNote()
    owner, ahead, count, *rest = numbers
    alone, rest = rest[:count], rest[count:]
    count, *rest = rest or [0]
    pairs = [(committed + at, n) for at, n in zip(rest[::2], rest[1::2], strict=False)]
    reach = committed + ahead - 1
    return CustodyNote(owner, reach, [committed + at for at in alone], pairs[:count], pairs[count:])


def _flat(pairs: Sequence[tuple[int, int]], committed: int) -> Sequence[int]:
    return [number for offset, count in pairs for number in (offset - committed, count)]


class Custody:
    """What is handed out of one partition by its owner `me`, after what `note` says."""

    def __init__(self, me: int, note: CustodyNote, committed: int) -> None:
        self.reach = -1
        """Up to where a confirmed note lets hand out."""
        self._me = me
        # Our own note is of a membership that ended, while we live on.
        died = note.owner not in {NOBODY, me}
        self._deaths = _with_death(note.deaths, note.reach) if died else list(note.deaths)
        self._ended_alone = Counter(note.alone if note.owner != me else ())
        self._failures = dict(note.failures)
        known = (*dict(self._deaths), *self._ended_alone, *self._failures)
        self._charged_to = max(known, default=-1)
        self._alone: set[int] = set()
        self._is_open = False
        self._handed = self._handed_before = committed - 1
        self._pace = 0

    @property
    def is_noted(self) -> bool:
        """Whether the broker has a note: there may be no room for one."""
        return self.reach < sys.maxsize

    def is_uncharged(self, first: int) -> bool:
        """Return whether nothing was charged of the record at `first`, and of all after it."""
        return first > self._charged_to

    def charged(self, offset: int) -> tuple[int, int, int]:
        """Return which attempt the next is, how many before were nacked, how many ended alone."""
        failures = self._failures.get(offset, 0)
        deaths = sum([count for bound, count in self._deaths if offset <= bound])
        return 1 + deaths + failures, failures, self._ended_alone[offset]

    def open_to(self, offset: int) -> None:
        """Let the next note say that all up to `offset` may be handed out."""
        self._is_open = True
        self._handed = max(self._handed, offset)

    def close(self) -> bool:
        """Let the next note say that nobody has it; return whether the last did not."""
        was_open, self._is_open = self._is_open, False
        self._alone.clear()
        return was_open

    def handed_out(self, offset: int) -> None:
        """Note that all up to `offset` was handed out."""
        self._handed = max(self._handed, offset)

    def handle(self, offset: int, *, alone: bool) -> None:
        """Note that the record at `offset` is handled alone, or not any more."""
        (self._alone.add if alone else self._alone.discard)(offset)

    def nacked(self, offset: int) -> bool:
        """Note that it failed; return whether that must be committed at once."""
        self._failures[offset] = self._failures.get(offset, 0) + 1
        has_ended_alone = self._ended_alone.pop(offset, 0) > 0
        return self.released(offset) or has_ended_alone

    def released(self, offset: int) -> bool:
        """Note that it was given back; return whether that must be committed at once."""
        was_alone = offset in self._alone
        self._alone.discard(offset)
        return was_alone

    def note(
        self, committed: int, is_owed: Callable[[int], bool], last: int, room: int
    ) -> tuple[Sequence[int], int]:
        """Return what a commit says of it, and up to where that lets hand out.

        Of what has come, up to `last`, only what `is_owed` counts any more.
        """
        if self._failures or self._alone or self._ended_alone:
            self._forget_what_is_settled(is_owed, last)
        note = CustodyNote(
            self._me if self._is_open else NOBODY,
            self._next_reach(committed) if self._is_open else -1,
            sorted([*self._alone, *self._ended_alone.elements()]),
            [one for one in self._deaths if one[0] >= committed],
            sorted(self._failures.items()),
        )
        numbers = numbers_of(note, committed, room)
        return numbers, note.reach if numbers or not self._is_open else sys.maxsize

    def _next_reach(self, committed: int) -> int:
        handed = max(self._handed, committed - 1)
        # It falls slowly: several commits may come between two of many that are handed out.
        self._pace = max(handed - self._handed_before, 7 * self._pace // 8)
        self._handed_before = handed
        return handed + 3 * self._pace + SPARE

    def _forget_what_is_settled(self, is_owed: Callable[[int], bool], last: int) -> None:
        gone = {
            offset
            for offset in (*self._failures, *self._alone, *self._ended_alone)
            if offset <= last and not is_owed(offset)
        }
        self._alone -= gone
        self._ended_alone = Counter(_without(self._ended_alone, gone))
        self._failures = _without(self._failures, gone)


def _with_death(deaths: Sequence[tuple[int, int]], reach: int) -> list[tuple[int, int]]:
    """Return `deaths` with one more, of an owner of that reach; in rising order."""
    counts = dict(deaths)
    counts[reach] = counts.get(reach, 0) + 1
    first, *others = sorted(counts.items())
    if len(others) < MOST_BOUNDS:
        return [first, *others]
    (bound, count), *others = others
    return [(bound, count + first[1]), *others]


def _without(counts: Mapping[int, int], gone: Collection[int]) -> dict[int, int]:
    return {offset: count for offset, count in counts.items() if offset not in gone}
