"""A stream as one group sees it: the names of its keys.

Five keys for each stream and group, in the stream's hash slot, hold what Redis 6.2 to 7 has no
place for:

- `until` (a sorted set): entry id -> the moment, by the server's clock in milliseconds, before
  which nobody may claim it: the end of the delay of a nack or of its publish, or of a lease
  extended by hand. It overrides the idle time. An entry leaves it by being claimed or acknowledged.
- `wake` (a stream with a group of the same name): one entry for each time that something became
  free or got a due moment. Every consumer reads it together with the stream, so one of those that
  wait wakes up; and since an entry stays until it is read, no wake-up falls between the decision
  to wait and the waiting.
- `scan` (a key that expires): while it is there, somebody has looked for ended leases a moment
  ago. It limits a rate and locks nothing.
- `lane_of` (a hash) and `lanes` (a sorted set), only where a consumer asked for the order of keys:
  entry id -> its lane, which is a digest of its key, and lane with entry id, in the order of both.
  What is settled is in neither. See `scripts/lanes.lua`.
"""

from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

from redis.crc import key_slot

__all__ = ("GroupKeys", "group_keys", "schedule_key")


_BESIDE: Final = ("until", "wake", "scan", "lane-of", "lanes")


class GroupKeys(NamedTuple):
    """A stream as one group sees it: its key and the keys beside it, with the group's name."""

    stream: bytes
    until: bytes
    wake: bytes
    scan: bytes
    lane_of: bytes
    lanes: bytes
    group: bytes

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What scripts get of it: the stream, and what is beside it."""
        return self[:6]


def group_keys(topic: str, group: str) -> GroupKeys:
    """Return the keys of `topic` for `group`, all in one hash slot."""
    beside = (_beside(topic, group, end) for end in _BESIDE)
    names = topic.encode(), *beside, group.encode(errors="surrogateescape")
    return GroupKeys._make(names)


def schedule_key(topic: str, schedule: str) -> bytes:
    """Return the key beside `topic` that has for when `schedule` published to it last."""
    return _beside(topic, schedule, "published-for")


def _beside(topic: str, name: str, end: str) -> bytes:
    """Return a key in the hash slot of `topic`.

    The name is escaped so that no two pairs of names meet in one key. That of somebody else's
    group may be no UTF-8: it comes with surrogates, and leaves without.
    """
    escaped = name.replace("%", "%25").replace(":", "%3A")
    tag = _hash_tag(topic)
    if "}" in tag:  # in braces it would end too early
        tag = _tag_of_slot(key_slot(topic.encode()))
    named = f"{{{tag}}}" if tag == topic else f"{{{tag}}}:{topic}"
    return f"acked:{named}:{escaped}:{end}".encode(errors="surrogateescape")


def _hash_tag(key: str) -> str:
    """Return the part of `key` that Redis Cluster hashes (cluster specification, hash tags)."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key


@lru_cache(1024)
def _tag_of_slot(slot: int) -> str:
    """Return a short text that Redis Cluster puts into `slot`."""
    return next(text for text in map(str, count()) if key_slot(text.encode()) == slot)
