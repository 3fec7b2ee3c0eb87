"""What a commit says beside its offset: which later records are settled already.

A committed offset is one position, and settlements come in any order. So the commit's metadata
names the highest settled record and, below it, those that are *not* settled: their number is
bounded by what a consumer holds, and gaps in the offsets cost nothing.

```text
acked1:<base64 of varints: highest - committed, then each unsettled offset's distance to the last>
```

Rules:

1. What does not fit is left out from the end: records beyond `highest` count as unsettled, and
   come again. Nothing unsettled is ever noted as settled.
2. Metadata of other clients is no note, and reads as an empty one.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ("LIMIT", "CommitMetadata", "read_metadata", "written_metadata")

LIMIT: Final = 4096
"""Characters: what a broker takes by default (`offset.metadata.max.bytes`)."""

_PREFIX: Final = "acked1:"
_MAX_BYTES: Final = (LIMIT - len(_PREFIX)) // 4 * 3


class CommitMetadata(NamedTuple):
    """The records up to `highest` are settled, except those before `committed` and `unsettled`."""

    highest: int
    unsettled: frozenset[int]

    def covers(self, offset: int) -> bool:
        """Return whether the record at `offset` was settled."""
        return offset <= self.highest and offset not in self.unsettled


def written_metadata(committed: int, highest: int, unsettled: Sequence[int]) -> str:
    """Return the metadata of a commit of `committed`; `unsettled` rises from `committed` on."""
    below = [offset for offset in unsettled if offset <= highest]
    if highest < committed:
        return ""
    while True:
        packed = _packed(_distances(committed, highest, below))
        if len(packed) <= _MAX_BYTES:
            return _PREFIX + base64.b64encode(packed).decode()
        # Each distance takes a byte at least; cut off the surplus and try again.
        kept = max(1, min(len(below) - 1, len(below) * _MAX_BYTES // len(packed)))
        highest = below[kept] - 1
        below = below[:kept]


def read_metadata(committed: int, metadata: str) -> CommitMetadata:
    """Return what `metadata`, committed together with `committed`, says."""
    nothing = CommitMetadata(committed - 1, frozenset())
    if not metadata.startswith(_PREFIX):
        return nothing
    try:
        packed = base64.b64decode(metadata.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return nothing
    distances = _unpacked(packed)
    if not distances:
        return nothing
    unsettled: list[int] = []
    offset = committed
    for distance in distances[1:]:
        offset += distance
        unsettled.append(offset)
    return CommitMetadata(committed + distances[0], frozenset(unsettled))


def _distances(committed: int, highest: int, below: Iterable[int]) -> Iterable[int]:
    yield highest - committed
    last = committed
    for offset in below:
        yield offset - last
        last = offset


def _packed(numbers: Iterable[int]) -> bytes:
    """Return `numbers`, none negative, as varints: seven bits in a byte, the lowest first."""
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


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
