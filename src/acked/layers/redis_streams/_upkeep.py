"""What the living clear away: entries that every group has settled, groups of dead listeners.

Whoever consumes a stream does it now and then, before it reads. Nothing is locked: what one has
cleared away the next does not find. What the server refuses is told once, and then left alone.
"""

import time
from collections.abc import Sequence
from typing import Final, cast

import anyio

from acked.errors import LayerError
from acked.layers._redis.reader import Reader
from acked.layers._redis.scripts import ScriptCall
from acked.layers.redis_streams._consumer_state import LISTENERS, ConsumerState, logger
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import groups_of
from acked.layers.redis_streams._scripts import FREE, REMOVE, TRIM

__all__ = ("FORGOTTEN_AFTER", "Upkeep")

TRIM_EVERY: Final = 5.0
SWEEP_EVERY: Final = 60.0
FORGOTTEN_AFTER: Final = 300.0
"""Seconds of silence after which a consumer is dead: one that lives gives a sign every five."""
TRIM_PAGE: Final = 10_000
"""Entries that one script deletes."""


class Upkeep:
    """What one consumer does for the streams it reads."""

    def __init__(self, seat: ConsumerState, topics: Sequence[str]) -> None:
        self._seat = seat
        self._topics = list(topics)
        self._sweep_at = anyio.current_time()
        self._trim_at = 0.0 if seat.keep_settled is not None else float("inf")
        self._empty_since: dict[tuple[str, bytes], float] = {}
        """Groups of listeners without any consumer, and when they were seen first."""

    async def tidy(self, reader: Reader) -> None:
        """Do what is due. Raises `ConnectionLost`."""
        now = anyio.current_time()
        if now >= self._trim_at:
            self._trim_at = now + TRIM_EVERY
            await self._trim(reader)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            await self._sweep(reader, now)

    async def _trim(self, reader: Reader) -> None:
        """Delete what all groups have settled and is old enough; ids begin with milliseconds."""
        before = time.time() - cast("float", self._seat.keep_settled)
        words = (b"%d-0" % max(0, before * 1000), b"%d" % TRIM_PAGE)
        topics = self._topics
        while topics:
            calls = [ScriptCall(TRIM, (self._seat.places[one].stream,), words) for one in topics]
            replies = await reader.run(calls)
            refused = next((one for one in replies if isinstance(one, LayerError)), None)
            if refused is not None:
                logger.warning("what is settled is not deleted: %s", refused)
                self._trim_at = float("inf")
                return
            pairs = zip(topics, cast("list[int]", replies), strict=True)
            topics = [topic for topic, deleted in pairs if deleted >= TRIM_PAGE // 2]

    async def _sweep(self, reader: Reader, now: float) -> None:
        """Remove groups of listeners whose consumers have been silent for too long."""
        streams = [self._seat.places[topic].stream for topic in self._topics]
        replies = await reader.exchange([(b"XINFO", b"GROUPS", key) for key in streams])
        calls: list[ScriptCall] = []
        for topic, reply in zip(self._topics, replies, strict=True):
            for told in groups_of(reply):
                name = cast("bytes", told[b"name"])
                if name.startswith(LISTENERS) and name != self._seat.group:
                    consumers = cast("int", told[b"consumers"])
                    calls += self._removal(topic, name, consumers, now)
        for refused in await reader.run(calls) if calls else ():
            if isinstance(refused, LayerError):
                logger.warning("a dead listener's group was not removed: %s", refused)
                self._sweep_at = float("inf")
                return

    def _removal(
        self, topic: str, group: bytes, consumers: int, now: float
    ) -> Sequence[ScriptCall]:
        """Return what removes the group if it is dead; nothing where that cannot be known yet."""
        seen = self._empty_since.setdefault((topic, group), now)
        if consumers:
            self._empty_since.pop((topic, group))
        elif now - seen < FORGOTTEN_AFTER:
            return ()
        place = group_keys(topic, group.decode("utf-8", "surrogateescape"))
        silence = b"%d" % (FORGOTTEN_AFTER * 1000)
        return [ScriptCall(REMOVE, place.keys, (group, FREE, silence, b"force"))]
