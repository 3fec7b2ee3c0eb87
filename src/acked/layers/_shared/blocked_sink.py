"""What waits for a subscription that has no room, where the layer itself cannot wait.

Under `Overflow.BLOCK` a sink takes nothing while it is full. A layer that feeds many sinks from one
connection must not wait for one of them, so what that one has no room for waits here, in order and
bounded; what is over the bound is a counted gap.
"""

import asyncio
from collections import deque
from typing import Final

import anyio

from acked.abc import Sink
from acked.errors import LayerError
from acked.types import Gap, GapCause, Record

__all__ = ("BACKLOG_BYTES", "RECORD_BYTES", "BlockedSink")

BACKLOG_BYTES: Final = 32 * 1024 * 1024
"""What may wait for one subscription: as much as Redis would keep for a slow client."""

RECORD_BYTES: Final = 512
"""What a record counts besides its body."""

_DROPPED: Final = Gap(1, frozenset({GapCause.OVERFLOW}))


class BlockedSink:
    """A sink whose layer never waits: `offer`, `gap` and `fail` keep their order.

    Used within one event loop of asyncio. Costs a task only while something waits.
    """

    __slots__ = ("_backlog", "_limit", "_sink")

    def __init__(self, sink: Sink, limit: int = BACKLOG_BYTES) -> None:
        self._sink = sink
        self._limit = limit
        self._backlog: _SinkBacklog | None = None

    @property
    def is_behind(self) -> bool:
        """Whether something waits for room, and a task for that."""
        return self._backlog is not None

    def offer(self, record: Record) -> None:
        """Hand `record` over, now or when there is room."""
        backlog = None if self._backlog is None else self._waiting()
        if backlog is not None:
            backlog.add_record(record)
        elif not self._sink.offer(record):
            self._backlog = _SinkBacklog(self._sink, record, self._limit)

    def gap(self, gap: Gap) -> None:
        """Tell of `gap`, behind all that waits."""
        backlog = self._waiting()
        if backlog is None:
            self._sink.gap(gap)
        else:
            backlog.add(gap)

    def fail(self, error: LayerError) -> None:
        """Tell that nothing comes any more, behind all that waits."""
        backlog = self._waiting()
        if backlog is None:
            self._sink.fail(error)
        else:
            backlog.add(error)

    async def aclose(self) -> None:
        """Forget what waits; the sink is not called again."""
        if self._backlog is not None:
            await self._backlog.aclose()

    def _waiting(self) -> "_SinkBacklog | None":
        if self._backlog is not None and not self._backlog:
            self._backlog = None
        return self._backlog


class _SinkBacklog:
    """What a sink had no room for, and the task that hands it over."""

    def __init__(self, sink: Sink, first: Record, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._waiting: deque[Record | Gap | LayerError] = deque()
        self._bytes = 0
        self.add_record(first)
        self._task = asyncio.create_task(self._hand_over(), name="acked: a full sink")

    def __len__(self) -> int:
        return len(self._waiting)

    def add_record(self, record: Record) -> None:
        """Let `record` wait, or tell of it as missed if too much does already."""
        size = len(record.body) + RECORD_BYTES
        if self._bytes + size > self._limit and self._waiting:
            self.add(_DROPPED)
        else:
            self._bytes += size
            self.add(record)

    def add(self, one: Record | Gap | LayerError) -> None:
        """Let `one` wait behind the rest."""
        last = self._waiting[-1] if self._waiting else None
        if isinstance(one, Gap) and isinstance(last, Gap):
            self._waiting[-1] = last.merge(one)
        else:
            self._waiting.append(one)

    async def aclose(self) -> None:
        """Forget what waits."""
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._task])

    async def _hand_over(self) -> None:
        """Hand over one after the other; what is empty afterwards is of no use any more."""
        while self._waiting:
            one = self._waiting[0]
            if isinstance(one, Record):
                await self._sink.send(one)
                self._bytes -= len(one.body) + RECORD_BYTES
            elif isinstance(one, Gap):
                self._sink.gap(one)
            else:
                self._sink.fail(one)
            self._waiting.popleft()  # only now: what comes meanwhile must queue behind it
