"""Whether this process stood still while something was tried: then leases may have ended by that.

A lease that nobody can renew in time ends, however correct the layer is: its message comes again,
charged, and what is settled late is lost. That is no proof against a layer, so what fails while the
machine stands still is tried again; and it is believed when it fails all the same.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.to_thread import run_sync

from acked import VirtualClock
from acked.conformance.harness import Harness

__all__ = ("TRIES", "StallWatch", "watched")

TRIES: Final = 3
"""How often a thing is tried that fails while the machine stands still."""
LOOKS: Final = 10
"""In a lease."""
HARMLESS: Final = 1 / 3
"""Of a lease: what is late by so much is renewed in time."""


class StallWatch:
    """Notes how late tasks and threads of this process have their turns; in seconds."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._longest = 0.0
        self._began = anyio.current_time()

    @property
    def longest(self) -> float:
        """The longest time in which nothing had its turn, the present moment included."""
        return max(self._longest, anyio.current_time() - self._began - self._lease / LOOKS)

    @property
    def was_harmless(self) -> bool:
        """Whether no lease can have ended for it."""
        return self.longest < HARMLESS * self._lease

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._began = anyio.current_time()
            await anyio.sleep(self._lease / LOOKS)
            await run_sync(_have_a_turn)
            self._longest = self.longest


@asynccontextmanager
async def watched(harness: Harness) -> AsyncGenerator[StallWatch]:
    """Watch while within; not where leases end by a virtual clock, which stands still with us."""
    is_virtual = isinstance(harness.clock, VirtualClock)
    watch = StallWatch(float("inf") if is_virtual else harness.lease)
    async with anyio.create_task_group() as tasks:
        if not is_virtual:
            tasks.start_soon(watch.run)
        yield watch
        tasks.cancel_scope.cancel()


def _have_a_turn() -> None:
    """Do nothing, in a thread: layers over blocking clients do everything there."""
