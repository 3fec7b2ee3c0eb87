"""What a stream keeps for its groups, looked at without a lease, and deleted entry by entry."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple, cast

from acked.errors import LayerError
from acked.layers._redis.client import Client
from acked.layers._redis.scripts import Script, ScriptCall
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import Fields, groups_of, record_of
from acked.layers.redis_streams._scripts import BROWSE, DELETE
from acked.types import KeptRecord

__all__ = ("browse", "remove")

PAGE: Final = 200
"""Entries that one script looks at: the server does nothing else meanwhile."""

_Entry = tuple[bytes, Fields, bytes]


class _Stream(NamedTuple):
    """A stream, its groups, and what these have beside it."""

    keys: tuple[bytes, ...]
    groups: Sequence[bytes]
    last: bytes
    """Its last entry; empty where there is none."""

    def call(self, script: Script, *arguments: bytes) -> ScriptCall:
        """Return the call of `script`, which is about all groups."""
        return ScriptCall(script, self.keys, arguments)


async def browse(way: Client, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
    """Show what some group of `topic` owes, or all without a group, in pages."""
    stream = await _look(way, topic)
    start = b"-"
    while stream.last:
        asked = (start, stream.last, b"%d" % PAGE, *stream.groups)
        found, last = cast(
            "tuple[list[_Entry], bytes]", await _run(way, stream.call(BROWSE, *asked))
        )
        if not last:
            return
        start = b"(" + last
        if found:
            yield [_kept(topic, *entry) for entry in found]


async def remove(way: Client, topic: str, positions: Sequence[str]) -> Sequence[bool]:
    """Delete the entries at `positions` but for those that are held, and say of each if it is gone.

    They go for every group, and for whoever reads the stream as a log.
    """
    stream = await _look(way, topic)
    gone = [True] * len(positions)
    for start in range(0, len(positions), PAGE):
        entries = [position.encode() for position in positions[start : start + PAGE]]
        asked = (b"%d" % len(stream.groups), *stream.groups, *entries)
        for place in cast("list[int]", await _run(way, stream.call(DELETE, *asked))):
            gone[start + place] = False
    return gone


async def _look(way: Client, topic: str) -> _Stream:
    key = topic.encode()
    groups_told, newest = await way.exchange(
        [(b"XINFO", b"GROUPS", key), (b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1")]
    )
    if isinstance(newest, LayerError):
        raise newest
    entries = cast("list[tuple[bytes, Fields]]", newest)
    groups = [cast("bytes", told[b"name"]) for told in groups_of(groups_told)]
    names = [name.decode(errors="surrogateescape") for name in groups]
    beside = [one for name in names for one in group_keys(topic, name).keys[1:]]
    return _Stream((key, *beside), groups, entries[0][0] if entries else b"")


async def _run(way: Client, call: ScriptCall) -> object:
    (reply,) = await way.run([call])
    if isinstance(reply, LayerError):
        raise reply
    return reply


def _kept(topic: str, entry_id: bytes, fields: Fields, state: bytes) -> KeptRecord:
    position = entry_id.decode()
    return KeptRecord(record_of(topic, position, fields), position, state == b"held")
