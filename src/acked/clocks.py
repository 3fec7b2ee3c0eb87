"""Where time comes from: the system's clock, or a virtual one that a test moves by hand."""

import heapq
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

import anyio
import anyio.lowlevel

__all__ = ("SystemClock", "VirtualClock", "system_time")


# Leases run on while a machine sleeps, and so must the clock that they are compared with: Linux
# has one that counts suspension (CLOCK_BOOTTIME). As it is: a function of Python's would double its
# cost where it is asked for each message.
system_time: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)


class SystemClock:
    """The clock of this machine that never goes backwards, in seconds."""

    def time(self) -> float:
        """Return seconds since an arbitrary moment, those included that the machine slept."""
        return system_time()

    async def sleep_until(self, moment: float) -> None:
        """Wait until `time()` has reached `moment`; return at once if it has."""
        await anyio.sleep(max(0.0, moment - system_time()))


class VirtualClock:
    """A clock that stands still until a test advances it: leases and delays without waiting.

    ```python
    clock = VirtualClock()
    channel = Channel(MemoryQueueLayer(clock=clock), clock=clock)
    clock.advance(31.0)          # every lease of 30 seconds is over now
    ```
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now:g} s, {len(self._sleepers)} asleep>"

    def time(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return self._now

    async def sleep_until(self, moment: float) -> None:
        """Wait until somebody advanced the clock to `moment` or past it."""
        if moment <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = (moment, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:  # cancelled
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake whoever slept until then, in order of their moments."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()
