"""A bounded stream between who offers and who reads, that counts what it loses."""

from typing import Generic, TypeVar

from acked._core.notify import Notify
from acked._core.observer import Observer
from acked._core.options import checked_count
from acked._machines.overflow import BoundedBuffer
from acked.errors import AckedError, LayerError, StreamOverflow
from acked.types import Gap, Overflow

__all__ = ("Stream",)

T = TypeVar("T")


class Stream(Generic[T]):
    """At most `capacity` items, from who offers them to who reads; what is lost is a gap.

    What a layer sees of a subscription is one of records: see `acked.abc.Sink`. Any number of tasks
    may read, on one event loop, and each item goes to one of them:

    ```python
    while await stream.ready():
        item, gap = stream.take()
    ```
    """

    __slots__ = (
        "_closed",
        "_observer",
        "_room",
        "arrived",
        "buffer",
        "failure",
        "gathered",
        "told",
        "unknown_gaps",
    )

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = Overflow.DROP_OLDEST,
        observer: Observer | None = None,
    ) -> None:
        checked_count("capacity", capacity)
        self.buffer: BoundedBuffer[T] = BoundedBuffer(capacity, overflow)
        self.arrived: Notify = Notify()
        """For who waits for one item: each wakes one."""
        self.gathered: Notify = Notify()
        """For who waits for more than one."""
        self.failure: AckedError | None = None
        """Why nothing comes any more behind what is buffered."""
        self.told: int = 0
        """Items of which it was said, by `gap`, that they were missed."""
        self.unknown_gaps: int = 0
        self._room = Notify()
        self._observer = observer
        self._closed = False

    def offer(self, item: T) -> bool:
        """Take `item` without waiting; False if there is no room under BLOCK."""
        taken = self._closed or self.buffer.offer(item)
        if self.arrived.waiting:
            self.arrived.wake(1)
        if self.gathered.waiting:
            self.gathered.set()
        return taken

    async def send(self, item: T) -> None:
        """Take `item`, waiting for room under BLOCK."""
        while not self.offer(item):
            await self._room.wait()

    def gap(self, gap: Gap) -> None:
        """Note that items may have been missed, behind what is buffered."""
        self.buffer.mark(gap)
        if not self.buffer.items:
            self.arrived.set()
        self.gathered.set()
        if self._observer is not None:
            self._observer.missed(gap.missed)
        if gap.missed is None:
            self.unknown_gaps += 1
        else:
            self.told += gap.missed

    def fail(self, error: LayerError) -> None:
        """Let the reader raise `error` after what is buffered."""
        self.end(error)

    def end(self, error: AckedError) -> None:
        """Let the reader raise `error` after what is buffered; the first such error stays."""
        self.failure = self.failure or error
        self.arrived.set()
        self.gathered.set()

    async def ready(self) -> bool:
        """Return True when an item waits to be taken; False when none will: see `failure`."""
        while not self.buffer.items:
            if self.failure is not None:
                return False
            try:
                await self.arrived.wait()
            except BaseException:
                self.wake_another()
                raise
        return True

    def take(self) -> tuple[T, Gap | None]:
        """Return the oldest item and the gap before it; one more sender has room now."""
        taken = self.buffer.take()
        if self._room.waiting:
            self._room.wake(1)
        return taken

    def wake_another(self) -> None:
        """Let other readers have what is buffered.

        Race: who was woken for an item, and is cancelled, does not take it.
        """
        self.arrived.wake(len(self.buffer))

    def overflowed(self) -> StreamOverflow | None:
        """Return what FAIL has to say, if it came to that."""
        if not self.buffer.failed:
            return None
        return StreamOverflow(self.buffer.failed, self.buffer.capacity)

    def close(self) -> None:
        """Let waiting senders go on: nobody reads here any more."""
        self._closed = True
        self._room.set()
