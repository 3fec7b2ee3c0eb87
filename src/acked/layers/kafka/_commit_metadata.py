"""What a commit says beside its offset: which later records are settled already, and a note.

A committed offset is one position, and settlements come in any order. So the commit's metadata
names the highest settled record and, below it, those that are *not* settled: their number is
bounded by what a consumer holds, and gaps in the offsets cost nothing.

```text
acked2:<base64 of varints: the length of a note, its numbers, then, if anything is settled later,
highest - committed, and each unsettled offset's distance to the last>
```

The note is of who has the partition: see `_custody`.

Rules:

1. What does not fit is left out from the end: records beyond `highest` count as unsettled, and
   come again. Nothing unsettled is ever written as settled. The writer returns how far it came, so
   that nothing is confirmed which is not kept.
2. Settling a record never makes the metadata longer: two distances become one. So what is read is
   bounded by what would fit if nothing of it were settled but the last; see `spare_records`.
3. Metadata of other clients says nothing: only what is below the offset is settled.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = (
    "LIMIT",
    "CommitMetadata",
    "MetadataLimit",
    "packed",
    "read_metadata",
    "spare_records",
    "written_metadata",
)

LIMIT: Final = 4096
"""Characters: what a broker takes by default (`offset.metadata.max.bytes`)."""

_PREFIX: Final = "acked2:"
_FIRST: Final = 6
"""Bytes for the length of a note, and the distance to `highest`: up to 34 billion offsets."""
_LONGEST: Final = 5
"""Bytes for one, whatever its distance."""
_EACH: Final = 3
"""Bytes for one more unsettled record, at most: two million offsets after the last."""


class MetadataLimit:
    """How many characters the brokers keep beside an offset, as far as they told."""

    def __init__(self, characters: int = LIMIT) -> None:
        self.characters = characters

    @property
    def room(self) -> int:
        """Return the bytes that fit in, packed."""
        return max(0, (self.characters - len(_PREFIX)) // 4 * 3)

    def refused(self, characters: int) -> bool:
        """Note that so many were too many; False if there is nothing left to leave out."""
        if not characters:
            return False
        self.characters = min(self.characters, characters) // 2
        return True


class CommitMetadata(NamedTuple):
    """The records up to `highest` are settled, except those before `committed` and `unsettled`."""

    highest: int
    unsettled: frozenset[int]
    note: Sequence[int] = ()

    def covers(self, offset: int) -> bool:
        """Return whether the record at `offset` was settled."""
        return offset <= self.highest and offset not in self.unsettled


def written_metadata(
    committed: int, highest: int, unsettled: Sequence[int], room: int, note: Sequence[int] = ()
) -> tuple[str, int]:
    """Return the metadata of a commit of `committed`, and the last record that it covers.

    `unsettled` rises from `committed` on; `room` is in bytes, see `MetadataLimit.room`, and there
    is enough of it for `note`.
    """
    head = packed([len(note), *note])
    room -= len(head)
    below = [offset for offset in unsettled if offset <= highest]
    while highest >= committed:
        settled = packed(_distances(committed, highest, below))
        if len(settled) <= room:
            return _text(head + settled), highest
        if not below:
            break
        # Each distance takes a byte at least; cut off the surplus and try again.
        kept = max(0, min(len(below) - 1, len(below) * room // len(settled)))
        highest = below[kept] - 1
        below = below[:kept]
    return _text(head) if note else "", committed - 1


def spare_records(unsettled: int, span: int, room: int) -> int:
    """Return how many more records may be read, so that all that is settled of them is kept.

    So many are `unsettled` by now, over `span` offsets from the committed one on. One more is
    always possible where none is: an offset says all there is to say.
    """
    if not unsettled:
        return max(1, (room - _FIRST) // _EACH)
    # A distance takes one byte and no more than another for each 128 offsets.
    taken = _FIRST + min(unsettled + span // 128, _LONGEST * unsettled)
    return max(0, (room - taken) // _EACH)


def read_metadata(committed: int, metadata: str) -> CommitMetadata:
    """Return what `metadata`, committed together with `committed`, says."""
    nothing = CommitMetadata(committed - 1, frozenset())
    if not metadata.startswith(_PREFIX):
        return nothing
    try:
        numbers = _unpacked(base64.b64decode(metadata.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        return nothing
    if not numbers:
        return nothing
    length, *numbers = numbers
    note, distances = numbers[:length], numbers[length:]
    if not distances:
        return nothing._replace(note=note)
    unsettled: list[int] = []
    offset = committed
    for distance in distances[1:]:
        offset += distance
        unsettled.append(offset)
    return CommitMetadata(committed + distances[0], frozenset(unsettled), note)


def packed(numbers: Iterable[int]) -> bytes:
    """Return `numbers`, none negative, as varints: seven bits in a byte, the lowest first."""
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _text(raw: bytes) -> str:
    return _PREFIX + base64.b64encode(raw).decode()


def _distances(committed: int, highest: int, below: Iterable[int]) -> Iterable[int]:
    yield highest - committed
    last = committed
    for offset in below:
        yield offset - last
        last = offset


def _unpacked(packed: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(number)
            number = shift = 0
    return numbers
