"""Several receivers as one: on a cluster, one read cannot wait for streams in different slots.

Each intake reads in a task of its own, for a second at most, whether or not anybody receives then.
So cancelling `receive` interrupts nothing. What was read and not handed out yet waits here, leased;
what has waited for half of its lease is handed out only if the server says that it still is ours.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import anyio

from acked.errors import ConnectionLost
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._receiver import Receiver
from acked.layers.redis_streams._records import as_ours
from acked.types import Leased, Outcome, Reply, Token

__all__ = ("MultiSlotReceiver",)

PAUSE: Final = 0.25
"""Seconds before an intake whose node could not be reached tries again."""


_Found: TypeAlias = tuple[float, Leased]
"""A message, and a moment before the request that brought it."""


class MultiSlotReceiver:
    """What one consumer reads from several nodes, or slots."""

    def __init__(
        self,
        intakes: Sequence[Receiver],
        seat: ConsumerState,
        extend: Callable[[Sequence[Token], float], Awaitable[Sequence[Reply]]],
    ) -> None:
        self._seat = seat
        self._extend = extend
        self._idle: dict[Receiver, float] = dict.fromkeys(intakes, 0.0)
        """Those that do not read, each with the pause before its next try."""
        self._reading: dict[asyncio.Task[list[_Found]], Receiver] = {}
        self._found: deque[_Found] = deque()
        self.leased_at = seat.clock.time()
        """A moment before the oldest lease of what was handed out last."""

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Do what `AckFeed.receive` promises."""
        while True:
            error = self._collect()
            found = await self._handed_out(limit)
            if found:
                return found
            if error is not None:
                raise error
            share = max(1, limit // (len(self._idle) + len(self._reading)))
            for intake, pause in self._idle.items():
                task = asyncio.get_running_loop().create_task(_look(intake, share, pause))
                self._reading[task] = intake
            self._idle.clear()
            await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED)

    async def leave(self) -> None:
        """Stop reading; what nobody has seen is not known any more, hence not charged for."""
        for task in self._reading:
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading)
        self._collect()
        self._seat.forget(as_ours([one.token for _, one in self._found]))
        self._found.clear()
        async with anyio.create_task_group() as together:  # a dead node keeps no other waiting
            for intake in self._idle:
                together.start_soon(intake.leave)

    def _collect(self) -> Exception | None:
        """Take what was read meanwhile; return an error of an intake, if there was one."""
        failure: Exception | None = None
        for task in [task for task in self._reading if task.done()]:
            intake = self._reading.pop(task)
            self._idle[intake] = 0.0
            if task.cancelled():
                continue
            error = task.exception()
            if isinstance(error, ConnectionLost):
                self._idle[intake] = PAUSE
            if isinstance(error, Exception):
                failure = error
            elif error is None:
                self._found.extend(task.result())
        return failure

    async def _handed_out(self, limit: int) -> Sequence[Leased]:
        some = [self._found[i] for i in range(min(limit, len(self._found)))]
        now = self._seat.clock.time()
        late = now - self._seat.lease / 2
        old = [one.token for moment, one in some if moment < late]
        held: set[Token] = set()
        if old:
            replies = await self._extend(old, self._seat.lease)
            pairs = zip(old, replies, strict=True)
            held = {token for token, reply in pairs if reply is Outcome.CONFIRMED}
        for _ in some:
            self._found.popleft()
        # What could not be extended may have ended: who wants it finds it when it has.
        kept = [(m, one) for m, one in some if m >= late or one.token in held]
        self.leased_at = min((m for m, _ in kept if m >= late), default=now)
        return [one for _, one in kept]


async def _look(intake: Receiver, limit: int, pause: float) -> list[_Found]:
    if pause:
        await asyncio.sleep(pause)
    found = await intake.look(limit)
    return [(intake.leased_at, one) for one in found]
