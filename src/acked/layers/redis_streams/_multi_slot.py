"""Several receivers as one: on a cluster, one read cannot wait for streams in different slots.

Each intake reads in a task of its own, for seconds at most, whether or not anybody receives then.
So cancelling `receive` interrupts nothing. What was read and not handed out yet waits here, leased;
what has waited for half of its lease is handed out only if the server says that it still is ours,
and what nobody comes for is given back: who has enough to do keeps nothing from others.

A part that cannot be reached is no end of the others: it is told once, and tried again. Only when
none works, or one has not for `LOST_FOR` seconds, does that end a `receive`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias, cast

import anyio

from acked.errors import LayerError
from acked.layers.redis_streams._consumer_state import ConsumerState, logger
from acked.layers.redis_streams._receiver import Receiver
from acked.layers.redis_streams._records import as_ours
from acked.types import Leased, Outcome, Reply, Token

__all__ = ("MultiSlotReceiver",)

PAUSE: Final = 0.25
"""Seconds before an intake whose node could not be reached tries again."""
UNSEEN_FOR: Final = 1.0
"""Seconds for which what was read waits for somebody to receive it."""
LOST_FOR: Final = 300.0
"""Seconds for which a part may be lost while others work: what the engine's own patience is."""


_Found: TypeAlias = tuple[float, Leased]
"""A message, and a moment before the request that brought it."""


class _LostPart:
    """Why a part brings nothing, since when, and whether that was told."""

    def __init__(self, since: float, error: LayerError) -> None:
        self.since: Final = since
        self.error = error
        self.is_told = False


class MultiSlotReceiver:
    """What one consumer reads from several nodes, or slots."""

    def __init__(
        self,
        intakes: Sequence[Receiver],
        seat: ConsumerState,
        extend: Callable[[Sequence[Token], float], Awaitable[Sequence[Reply]]],
        release: Callable[[Sequence[Token]], Awaitable[None]],
    ) -> None:
        self._seat = seat
        self._extend, self._release = extend, release
        self._is_receiving = False
        self._giving_back: asyncio.Task[None] | None = None
        self._idle: dict[Receiver, float] = dict.fromkeys(intakes, 0.0)
        """Those that do not read, each with the pause before its next try."""
        self._reading: dict[asyncio.Task[list[_Found]], Receiver] = {}
        self._found: deque[_Found] = deque()
        self._lost: dict[Receiver, _LostPart] = {}
        self.leased_at = seat.clock.time()
        """A moment before the oldest lease of what was handed out last."""

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Do what `AckFeed.receive` promises."""
        self._is_receiving = True
        try:
            return await self._received(limit)
        finally:
            self._is_receiving = False
            if self._found:
                self._has_read()

    async def _received(self, limit: int) -> Sequence[Leased]:
        while True:
            self._collect()
            self._raise_if_lost()
            found = await self._handed_out(limit)
            if found:
                return found
            share = max(1, limit // (len(self._idle) + len(self._reading)))
            for intake, pause in self._idle.items():
                task = asyncio.get_running_loop().create_task(_look(intake, share, pause))
                self._reading[task] = intake
                task.add_done_callback(self._has_read)
            self._idle.clear()
            await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED)

    async def leave(self) -> None:
        """Stop reading; what nobody has seen is not known any more, hence not charged for."""
        for task in self._reading:
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading)
        if self._giving_back is not None:  # the reads that ended just now began one, too
            self._giving_back.cancel()
            await asyncio.wait([self._giving_back])
        with suppress(Exception):  # we leave, whatever it is
            self._collect()
        self._seat.forget(as_ours([one.token for _, one in self._found]))
        self._found.clear()
        async with anyio.create_task_group() as together:  # a dead node keeps no other waiting
            for intake in (*self._idle, *self._reading.values()):  # where `_collect` raised
                together.start_soon(intake.leave)

    @property
    def failing(self) -> LayerError | None:
        """Why a part has brought nothing for long, though others may; None if all do."""
        lost = min(self._lost.values(), key=lambda part: part.since, default=None)
        return None if lost is None else lost.error

    def _has_read(self, _: object = None) -> None:
        if not self._is_receiving and self._giving_back is None:
            self._giving_back = asyncio.create_task(self._give_back(), name="acked: give back")

    async def _give_back(self) -> None:
        """Give back what was read for nobody, unless somebody comes for it."""
        try:
            await asyncio.sleep(UNSEEN_FOR)
            if self._is_receiving:
                return
            for task in [task for task in self._reading if _went_well(task)]:
                self._take(task)  # who receives next is told of the others
            unseen = [one.token for _, one in self._found]
            self._found.clear()
            if unseen:
                await self._release(unseen)
        finally:
            self._giving_back = None

    def _collect(self) -> None:
        """Take what was read meanwhile, and note which parts could not be."""
        for task in [task for task in self._reading if task.done()]:
            if task.cancelled() or _went_well(task):
                self._take(task)
                continue
            intake, error = self._reading.pop(task), task.exception()
            self._idle[intake] = 0.0
            if not isinstance(error, LayerError) or not error.may_pass:
                raise cast("BaseException", error)
            self._idle[intake] = PAUSE
            part = self._lost.setdefault(intake, _LostPart(anyio.current_time(), error))
            part.error = error

    def _take(self, task: "asyncio.Task[list[_Found]]") -> None:
        intake = self._reading.pop(task)
        self._idle[intake] = 0.0
        if task.cancelled():
            return
        self._found.extend(task.result())
        lost = self._lost.pop(intake, None)
        if lost is not None and lost.is_told:
            logger.warning("receiving from all parts of the cluster again")

    def _raise_if_lost(self) -> None:
        """Raise why nothing works, or has not for too long; tell of the rest once."""
        now = anyio.current_time()
        works = self._found or len(self._lost) < len(self._idle) + len(self._reading)
        for part in self._lost.values():
            if not works or now - part.since > LOST_FOR:
                part_is_over = LayerError(f"{part.error}; so for {now - part.since:.0f} s")
                raise part_is_over if works else part.error
            if not part.is_told:
                part.is_told = True
                logger.warning("a part of the cluster is lost, others go on: %s", part.error)

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


def _went_well(task: "asyncio.Task[list[_Found]]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _look(intake: Receiver, limit: int, pause: float) -> list[_Found]:
    if pause:
        await asyncio.sleep(pause)
    found = await intake.look(limit)
    return [(intake.leased_at, one) for one in found]
