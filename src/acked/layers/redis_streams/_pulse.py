"""A sign of life: a consumer says now and then that it lives, and asks how far its group is behind.

Reading is not enough: up to Redis 7.0 a read that waits leaves no trace, and a consumer that is
busy with what it holds does not read at all. Others forget who was silent for minutes.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from acked.errors import LayerError
from acked.layers._redis.client import Client
from acked.layers._redis.connection import Command
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._records import owned_by, told_of
from acked.layers.redis_streams._scripts import PARKED

__all__ = ("Pulse",)

EVERY: Final = 5.0
"""Seconds between two signs."""
LAST_WORD: Final = 0.5
"""Seconds to wait for the answer to a sign when leaving."""
_BEHIND_ALL: Final = b"18446744073709551615-0"


class Pulse:
    """The task of one feed that does this, from `start` to `stop`."""

    def __init__(self, way: Client, seat: ConsumerState) -> None:
        self._way = way
        self._seat = seat
        self._task: asyncio.Task[None] | None = None
        self._is_over = asyncio.Event()

    def start(self) -> None:
        """Begin, at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Return when nothing is said any more: a sign under way would undo our leaving."""
        task, self._task = self._task, None
        if task is not None:
            self._is_over.set()
            await asyncio.wait([task], timeout=LAST_WORD)
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while not self._is_over.is_set():
            with suppress(LayerError):  # whoever receives will say so
                await self._beat()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), EVERY)

    async def _beat(self) -> None:
        seat = self._seat
        replies = await self._way.exchange([*self._signs()])
        signs = len(replies) // len(seat.places)
        for topic, at in zip(seat.places, range(0, len(replies), signs), strict=True):
            told = told_of(seat.group, replies[at + 1])
            seat.lags[topic] = told.lag
            if told.lag is not None and seat.in_key_order:
                seat.lags[topic] = told.lag + owned_by(PARKED, replies[at + 2])
            if told.last_id:
                seat.last_ids[topic] = told.last_id

    def _signs(self) -> Iterator[Command]:
        for place in self._seat.places.values():
            # Asks for what we own behind the end of all ids, which is nothing: it notes our being.
            words = (place.group, self._seat.consumer, b"COUNT", b"1", b"STREAMS")
            yield (b"XREADGROUP", b"GROUP", *words, place.stream, _BEHIND_ALL)
            yield (b"XINFO", b"GROUPS", place.stream)
            if self._seat.in_key_order:
                yield (b"XPENDING", place.stream, place.group)
