"""One look for all consumers of a layer that wait: of which groups there is something.

Who is told of news needs no looks of its own, but for what nobody tells of: a hint that was lost, a
lease that was given after the last look, a group that is gone. A look for each, every few seconds,
would cost a hundred idle consumers more than they cost the server otherwise.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from acked.errors import LayerError
from acked.layers.postgres_queue._store import QueueStore

__all__ = ("Patrol",)

logger = logging.getLogger("acked.layers.postgres_queue")


class Patrol:
    """Looks `every` so many seconds, for as long as there is somebody to look for."""

    def __init__(self, store: QueueStore, every: float) -> None:
        self.every: Final = every
        self._store = store
        self._posts: dict[Callable[[], None], Collection[int]] = {}
        self._walking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<patrol for {len(self._posts)} consumers>"

    def guard(self, wake: Callable[[], None], grps: Collection[int]) -> None:
        """Call `wake` from now on when there is something of `grps`."""
        self._posts[wake] = grps
        if self._walking is None:
            self._walking = asyncio.create_task(self._walk(), name="acked: queue's patrol")

    async def leave(self, wake: Callable[[], None]) -> None:
        """Call `wake` no more."""
        self._posts.pop(wake, None)
        walking = self._walking
        if not self._posts and walking is not None:
            self._walking = None
            walking.cancel()
            await asyncio.wait([walking])

    async def _walk(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            grps = list({grp for grps in self._posts.values() for grp in grps})
            try:
                found = await self._store.value(self._store.functions.in_need, grps)
            except LayerError as error:
                logger.debug("each consumer looks by itself: %s", error)
                found = grps
            in_need = frozenset(found)
            for wake, guarded in [*self._posts.items()]:
                if not in_need.isdisjoint(guarded):
                    wake()
