"""That a consumer lives, said again and again, and what else is done by the clock beside it."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from acked.errors import LayerError
from acked.layers.postgres_queue._settlements import arrays_of
from acked.layers.postgres_queue._store import ALIVE_FOR, QueueStore
from acked.types import Token

__all__ = ("FeedLife",)

logger = logging.getLogger("acked.layers.postgres_queue")

TURN: Final = 1.0
"""Seconds between two turns; in each, the lag is counted if somebody has asked lately."""
ASKED_LATELY: Final = 60.0
COUNTING_SHARE: Final = 20.0
"""Counting what is owed takes at most one in so many seconds, however long the queue is."""
SWEEP_EACH: Final = 60.0


class FeedLife:
    """Says that a consumer lives, counts its lag, and sweeps what dead listeners left behind."""

    def __init__(self, store: QueueStore, on_freed: Callable[[], None]) -> None:
        self.number: Final = secrets.randbits(62)
        """What the consumer is known by on the server."""
        self._store = store
        self._on_freed = on_freed
        self._grps: Sequence[int] = ()
        self._lag: int | None = None
        self._asked = 0.0
        self._count_due = self._beat_due = self._sweep_due = 0.0
        self._task: asyncio.Task[None] | None = None
        self._rolled_back: dict[Token, float] = {}
        """What is nacked unless its transaction commits, each with its delay."""

    async def begin(self, grps: Sequence[int]) -> None:
        """Say that there is a consumer of `grps`, now and from now on."""
        self._grps = grps
        await self._beat()
        if self._task is None:
            self._task = asyncio.create_task(self._live(), name="acked: a consumer's life")

    async def end(self) -> None:
        """Say nothing more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def nack_later(self, token: Token, delay: float) -> None:
        """Nack `token` as soon as its transaction was rolled back."""
        self._rolled_back[token] = delay

    async def nack_what_was_rolled_back(self) -> None:
        """Nack what transactions were to settle that have ended otherwise."""
        waiting = self._rolled_back
        if not waiting:
            return
        tokens, delays = [*waiting], [*waiting.values()]
        arguments = (*arrays_of(tokens), delays)
        places: Sequence[int] = await self._store.value(
            self._store.functions.nack_unless_committed, *arguments
        )
        still_open = {tokens[place - 1] for place in places}
        for token in tokens:
            if token not in still_open:
                del waiting[token]
        self._on_freed()

    def lag(self) -> int | None:
        """Return what was owed and never given at the last count; None before there is one."""
        self._asked = asyncio.get_running_loop().time()
        return self._lag

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                now = loop.time()
                if now >= self._beat_due:
                    await self._beat()
                await self.nack_what_was_rolled_back()
                if now >= self._count_due and now - self._asked < ASKED_LATELY:
                    await self._count()
                if now >= self._sweep_due and not await self._store.sweep():
                    self._sweep_due = now + SWEEP_EACH
            except LayerError as error:  # who receives is told
                logger.debug("a consumer could not say that it lives: %s", error)
            await asyncio.sleep(TURN)

    async def _beat(self) -> None:
        await self._store.value(
            self._store.functions.beat, list(self._grps), self.number, ALIVE_FOR
        )
        self._beat_due = asyncio.get_running_loop().time() + ALIVE_FOR / 3

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._lag = await self._store.value(self._store.functions.lag, list(self._grps))
        now = loop.time()
        self._count_due = now + COUNTING_SHARE * (now - began)
