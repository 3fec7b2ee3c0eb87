"""One subscription as the connection sees it: its sink, and what the sink had no room for."""

import asyncio
from collections import deque
from typing import Final

import anyio

from acked.abc import Sink
from acked.errors import LayerError
from acked.types import Gap, GapCause, Record

__all__ = ("BACKLOG_BYTES", "RECORD_BYTES", "RedisListener")

BACKLOG_BYTES: Final = 32 * 1024 * 1024
"""What a listener without room may owe: as much as the server would keep for it."""

RECORD_BYTES: Final = 512
"""What a record in a backlog counts besides its body."""

_DROPPED: Final = Gap(1, frozenset({GapCause.OVERFLOW}))


class RedisListener:
    """One subscription: its sink, and the backlog of what it had no room for."""

    __slots__ = ("_backlog", "_refused", "_sink", "is_in")

    def __init__(self, sink: Sink) -> None:
        self.is_in = False
        """Whether its subscriber was told that it is in, so that a loss is a gap to it."""
        self._refused: LayerError | None = None
        self._sink = sink
        self._backlog: _Backlog | None = None

    def enter(self) -> None:
        """Note that all its topics were confirmed; raise what has ended one of them since."""
        if self._refused is not None:
            raise self._refused
        self.is_in = True

    def offer(self, record: Record) -> None:
        """Hand `record` over, now or when there is room."""
        backlog = self._waiting()
        if backlog is not None:
            backlog.add_record(record)
        elif not self._sink.offer(record):
            self._backlog = _Backlog(self._sink, record)

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
        if not self.is_in:
            self._refused = error
        elif backlog is None:
            self._sink.fail(error)
        else:
            backlog.add(error)

    async def aclose(self) -> None:
        """Forget what waits; the sink is not called again."""
        if self._backlog is not None:
            await self._backlog.aclose()

    def _waiting(self) -> "_Backlog | None":
        if self._backlog is not None and not self._backlog:
            self._backlog = None
        return self._backlog


class _Backlog:
    """What a sink had no room for, and the task that hands it over."""

    def __init__(self, sink: Sink, first: Record) -> None:
        self._sink = sink
        self._waiting: deque[Record | Gap | LayerError] = deque()
        self._bytes = 0
        self.add_record(first)
        self._task = asyncio.get_running_loop().create_task(self._hand_over())

    def __len__(self) -> int:
        return len(self._waiting)

    def add_record(self, record: Record) -> None:
        """Let `record` wait, or tell of it as missed if too much does already."""
        if self._bytes + len(record.body) > BACKLOG_BYTES and self._waiting:
            self.add(_DROPPED)
        else:
            self._bytes += len(record.body) + RECORD_BYTES
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
            self._waiting.popleft()
