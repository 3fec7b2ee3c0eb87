"""A topic of dead letters as a tool: count, list, replay, purge; nothing is taken by looking.

Rules:

1. What is there is what the layer's `browse` shows: owed to some group, or all without a group.
2. A letter is replayed in this order: published where it came from, and only then removed. A crash
   between makes it twice, never lost.
3. What a consumer holds at the moment is its own: it is left alone.
4. Only what was there when it began is looked at: what dies anew is not replayed in circles.
"""

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
import msgspec

from acked._core.ack.dead_letter import (
    DeadLetter,
    letter_from,
    may_be_replayed,
    original_of,
)
from acked._core.options import checked_count, checked_seconds
from acked.abc import BrowsableLayer
from acked.errors import ConfigurationError, ConnectionLost, PublishFailed
from acked.types import KeptRecord, Record

__all__ = ("DeadLetterTopic", "PurgeResult", "ReplayResult")

logger = logging.getLogger("acked.subscription")

Predicate = Callable[[DeadLetter], object]


class ReplayResult(msgspec.Struct, frozen=True):
    """How many letters were replayed, or would be in a dry run, and what became of the others."""

    replayed: int = 0
    skipped: int = 0
    """Left alone: not chosen, held by a consumer, cut, or nobody says where they came from."""
    failed: int = 0
    """Still there: they could not be published, or could not be removed and may come twice."""


class PurgeResult(msgspec.Struct, frozen=True):
    """How many letters were purged, or would be in a dry run, and how many were left alone."""

    purged: int = 0
    skipped: int = 0


class _Access(NamedTuple):
    """How the letters of one topic are reached."""

    name: str
    layer: Callable[[], BrowsableLayer]
    """Raises where the channel is not open."""
    publish: Callable[[Sequence[Record]], Awaitable[object]]
    check_topic: Callable[[str], object]

    async def remove(self, letters: Sequence[DeadLetter]) -> Sequence[bool]:
        """Remove `letters`, and say of each whether it is gone: not if a consumer holds it."""
        return await self.layer().remove(self.name, [one.position for one in letters])


class DeadLetterTopic:
    """The dead letters of one topic; made by `channel.dead_letters(...)`."""

    def __init__(
        self,
        name: str,
        layer: Callable[[], BrowsableLayer],
        publish: Callable[[Sequence[Record]], Awaitable[object]],
        check_topic: Callable[[str], object],
    ) -> None:
        self.name: Final = name
        self._access = _Access(name, layer, publish, check_topic)

    def __repr__(self) -> str:
        return f"<DeadLetterTopic {self.name!r}>"

    async def count(self) -> int:
        """Return how many letters there are. It reads all of them, and takes as long as that."""
        async with aclosing(self._pages()) as pages:
            return sum([len(page) async for page in pages])

    async def list(self, *, limit: int | None = None) -> AsyncGenerator[DeadLetter, None]:
        """Give the letters that are there now, in the order of the topic, up to `limit` of them.

        Nothing is taken: no consumer waits for it, no attempt is charged.
        """
        left = _most(limit)
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                for kept in page[:left]:
                    yield letter_from(kept)
                left = None if left is None else max(0, left - len(page))
                if left == 0:
                    return

    async def replay(
        self,
        *,
        where: Predicate | None = None,
        limit: int | None = None,
        rate: float | None = None,
        dry_run: bool = False,
        to: str | None = None,
    ) -> ReplayResult:
        """Publish letters again where they came from, or to the topic `to`, then remove them.

        Each is as the original was: id, key, headers, content type, body, time of publishing. Those
        for which `where` returns something true, up to `limit` of them, `rate` a second at most. A
        crash between publishing and removing makes a letter twice, never lost. Raises `LayerError`
        when the way is lost; what is not replayed by then is still there.
        """
        access = self._access
        if to is not None:
            access.check_topic(to)
            if to == self.name:
                raise ConfigurationError(f"to={to!r} is where the letters are; name another topic")
        pause = 0.0 if rate is None else 1.0 / checked_seconds("rate", rate, above=0.0)
        replaying = _Replaying(access, to=to, dry_run=dry_run)
        chosen = self._chosen(where, limit, lambda one: may_be_replayed(one, to), replaying.skip)
        async with aclosing(chosen) as pages:
            async for page in pages:
                for part in [[one] for one in page] if pause else [page]:
                    await replaying.several(part)
                    await anyio.sleep(0.0 if dry_run else pause)
        return replaying.result()

    async def purge(
        self, *, where: Predicate | None = None, limit: int | None = None, dry_run: bool = False
    ) -> PurgeResult:
        """Remove letters, for good: those for which `where` is true, up to `limit` of them.

        What a consumer holds is left to it.
        """
        counts = Counter[bool]()

        def skip(count: int) -> None:
            counts[False] += count

        async with aclosing(self._chosen(where, limit, lambda _: True, skip)) as pages:
            async for page in pages:
                counts.update([True] * len(page) if dry_run else await self._access.remove(page))
        return PurgeResult(counts[True], counts[False])

    def _pages(self) -> AsyncGenerator[Sequence[KeptRecord], None]:
        return self._access.layer().browse(self.name)

    async def _chosen(
        self,
        where: Predicate | None,
        limit: int | None,
        fits: Predicate,
        skip: Callable[[int], None],
    ) -> AsyncGenerator[Sequence[DeadLetter], None]:
        """Give the letters that are to be worked on, in pages, until there are `limit`."""
        left = _most(limit)
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                await anyio.lowlevel.checkpoint()
                free = [one for one in map(letter_from, page) if not one.is_held and fits(one)]
                chosen = [one for one in free if where is None or where(one)]
                skip(len(page) - len(chosen))
                chosen = chosen[:left]
                if chosen:
                    yield chosen
                left = None if left is None else left - len(chosen)
                if left == 0:
                    return


class _Replaying:
    """What became of the letters so far."""

    def __init__(self, access: _Access, *, to: str | None, dry_run: bool) -> None:
        self._access = access
        self._to = to
        self._is_dry = dry_run
        self._replayed = self._skipped = self._failed = 0

    def skip(self, count: int) -> None:
        """Count what is left alone."""
        self._skipped += count

    def result(self) -> ReplayResult:
        """Return the counts."""
        return ReplayResult(self._replayed, self._skipped, self._failed)

    async def several(self, chosen: Sequence[DeadLetter]) -> None:
        """Publish `chosen`, and remove what was published."""
        if self._is_dry:
            self._replayed += len(chosen)
            return
        failures = await self._published(chosen)
        for n, why in failures.items():
            logger.warning("dead letter %r was not replayed: %s", chosen[n].id, why)
        published = [one for n, one in enumerate(chosen) if n not in failures]
        gone: Sequence[bool] = await self._access.remove(published) if published else ()
        for letter, is_gone in zip(published, gone, strict=True):
            if not is_gone:
                logger.warning("dead letter %r was replayed and is still there", letter.id)
        self._replayed += sum(gone)
        self._failed += len(chosen) - sum(gone)

    async def _published(self, letters: Sequence[DeadLetter]) -> dict[int, Exception]:
        """Publish the originals of `letters`; return why not, by place. A lost way is raised."""
        failures: dict[int, Exception] = {}
        for n, letter in enumerate(letters):
            try:
                self._access.check_topic(self._to or letter.topic)
            except ConfigurationError as error:
                failures[n] = error
        sent = [n for n in range(len(letters)) if n not in failures]
        try:
            if sent:
                await self._access.publish([original_of(letters[n], self._to) for n in sent])
        except PublishFailed as error:
            reasons = error.failures.values()
            if error.indeterminate or any(isinstance(one, ConnectionLost) for one in reasons):
                raise
            failures |= {sent[n]: why for n, why in error.failures.items()}
        return failures


def _most(limit: int | None) -> int | None:
    return None if limit is None else checked_count("limit", limit)
