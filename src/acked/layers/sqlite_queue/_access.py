"""The way to a queue file from an event loop: one thread at a time, and who waits here."""

from collections.abc import Callable, Generator, Iterable
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from acked.errors import LayerError
from acked.layers._shared.runtime import running_loop
from acked.layers.sqlite_queue import _removal as removal
from acked.layers.sqlite_queue._file import QueueFile
from acked.layers.sqlite_queue._watch import Watch

__all__ = ("Access",)

R = TypeVar("R")

SWEEP_EACH: Final = 60.0
"""Seconds between two looks for what dead listeners left behind."""


class Access:
    """The file, the one thread at a time that may use it, and who waits in this process.

    `time` is the clock of leases and delays, `awake` that of signs of life, which stands still
    while the machine sleeps.
    """

    def __init__(
        self,
        file: QueueFile,
        *,
        time: Callable[[], float],
        awake: Callable[[], float],
    ) -> None:
        self.file: Final = file
        self.time: Final = time
        self.awake: Final = awake
        self.watch: Final = Watch()
        self.living: Final[dict[int, AbstractSet[int]]] = {}
        """The consumers of this layer by number, and their groups."""
        self.beat_due = 0.0
        """When one of them has to say again that all of them live, by `awake`."""
        self._waiting: Final[dict[anyio.Event, AbstractSet[str]]] = {}
        self._limiter: CapacityLimiter | None = None
        self._loop: object = None
        self._sweep_due = 0.0

    def check_open(self) -> CapacityLimiter:
        """Return what admits one thread at a time.

        Raises `LayerError` if the layer is closed, or was opened in another event loop.
        """
        if self._limiter is None:
            raise LayerError(f"queue file {self.file.path} is not open; use it within `async with`")
        if self._loop != running_loop():
            raise LayerError(
                f"queue file {self.file.path} was opened in another event loop, and this layer "
                "object belongs to it; open a layer of its own in each loop and thread"
            )
        return self._limiter

    async def open(self) -> None:
        """Open the file; cancelled or failed, nothing is left open."""
        if self._limiter is not None:
            self.check_open()
        self._limiter, self._loop = CapacityLimiter(1), running_loop()
        try:
            await self.run(self.file.open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file, also under cancellation."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.file.close)
        self._limiter = None

    async def run(self, job: Callable[[], R]) -> R:
        """Return what `job` returns in a thread.

        Cancelled, it is not begun, or stops waiting for other processes, or runs to its end.
        """
        return await to_thread.run_sync(job, limiter=self.check_open())

    def sweep_if_due(self) -> None:
        """Delete some of what is kept for nobody, each minute. Runs in a thread."""
        if self.awake() < self._sweep_due:
            return
        with self.file.transaction(durable=False) as db:
            removal.end_dead_listeners(db, self.awake())
            has_more = removal.sweep_page(db)
        self.file.shrink()
        if not has_more:
            self._sweep_due = self.awake() + SWEEP_EACH

    @contextmanager
    def news(self, topics: AbstractSet[str]) -> Generator[anyio.Event, None, None]:
        """Make an event that is set when something of `topics` may have become free."""
        event = anyio.Event()
        self._waiting[event] = topics
        try:
            yield event
        finally:
            del self._waiting[event]

    def announce(self, topics: Iterable[str]) -> None:
        """Wake those in this process who wait for any of `topics`."""
        changed = frozenset(topics)
        for event, awaited in self._waiting.items():
            if not changed.isdisjoint(awaited):
                event.set()
