"""The bounded stream of one fire-and-forget subscription, between its layer and its reader."""

from acked._core.notify import Notify
from acked._core.observer import Observer
from acked._core.options import FireAndForgetSettings
from acked._machines.overflow import BoundedBuffer
from acked.errors import AckedError, LayerError, StreamOverflow
from acked.types import Gap, Record

__all__ = ("Stream",)


class Stream:
    """The bounded stream of one subscription: what a layer sees of it is `acked.abc.Sink`."""

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

    def __init__(self, options: FireAndForgetSettings, observer: Observer | None) -> None:
        self.buffer: BoundedBuffer[Record] = BoundedBuffer(options.capacity, options.overflow)
        self.arrived = Notify()
        """For who waits for one message: each wakes one."""
        self.gathered = Notify()
        """For who waits for more than one."""
        self.failure: AckedError | None = None
        self.told = 0
        """Messages that layers said were missed."""
        self.unknown_gaps = 0
        self._room = Notify()
        self._observer = observer
        self._closed = False

    def offer(self, record: Record) -> bool:
        """Take `record` without waiting; see `acked.abc.Sink`."""
        taken = self._closed or self.buffer.offer(record)
        self.arrived.wake(1)
        self.gathered.set()
        return taken

    async def send(self, record: Record) -> None:
        """Take `record`, waiting for room under BLOCK; see `acked.abc.Sink`."""
        while not self.offer(record):
            await self._room.wait()

    def gap(self, gap: Gap) -> None:
        """Note that messages may have been missed; see `acked.abc.Sink`."""
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
        """Let the reader raise `error` after what is buffered; see `acked.abc.Sink`."""
        self.end(error)

    def end(self, error: AckedError) -> None:
        """Let the reader raise `error` after what is buffered; the first such error stays."""
        self.failure = self.failure or error
        self.arrived.set()
        self.gathered.set()

    def take(self) -> tuple[Record, Gap | None]:
        """Return the oldest record and the gap before it; one more sender has room now."""
        taken = self.buffer.take()
        self._room.wake(1)
        return taken

    def overflowed(self) -> StreamOverflow | None:
        """Return what FAIL has to say, if it came to that."""
        if not self.buffer.failed:
            return None
        return StreamOverflow(self.buffer.failed, self.buffer.capacity)

    def close(self) -> None:
        """Let waiting senders go on: nobody reads here any more."""
        self._closed = True
        self._room.set()
