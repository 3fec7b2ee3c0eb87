"""What a layer's author writes to have the laws tried on it; and one for each of our layers.

The laws are written against the public API. A harness opens channels over one broker, lets time
pass, and says how a child process reaches the same broker, where one can.
"""

import itertools
import os
from typing import Protocol

import anyio
from anyio import wait_all_tasks_blocked

from acked import Channel, SystemClock, VirtualClock
from acked.abc import AckLayer, Clock

_numbers = itertools.count()


class Harness(Protocol):
    """One broker with the layer under test."""

    lease: float
    """A short lease, in seconds, for the laws that let one end."""
    clock: Clock
    url: str | None
    """Where a child process finds the same broker; None if it cannot."""

    def layer(self) -> AckLayer:
        """Return a layer over the broker; not used by two open channels at once."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Return when `seconds` are over on the broker's clock, with everybody having had turns."""
        ...


def fresh(word: str) -> str:
    """Return a name that no other test uses on this broker."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def channel_of(harness: Harness) -> Channel[AckLayer]:
    return Channel(harness.layer(), clock=harness.clock)


class RealTime:
    """For brokers whose clock is the world's."""

    lease = 1.0  # so that a busy machine can renew it in time

    def __init__(self, url: str) -> None:
        self.url: str | None = url
        self.clock: Clock = SystemClock()

    def layer(self) -> AckLayer:
        assert self.url is not None
        return Channel.from_url(self.url).layer

    async def pass_time(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class VirtualTime:
    """For layers that take a clock: thousands of seconds in no time."""

    lease = 30.0
    url = None

    def __init__(self, make) -> None:
        self.virtual = VirtualClock()
        self.clock: Clock = self.virtual
        self._layer: AckLayer = make(self.virtual)

    def layer(self) -> AckLayer:
        return self._layer

    async def pass_time(self, seconds: float) -> None:
        step = self.lease / 8
        while seconds > 0:
            await wait_all_tasks_blocked()
            self.virtual.advance(min(step, seconds))
            seconds -= step
        await wait_all_tasks_blocked()
