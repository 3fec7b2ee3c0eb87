"""What a layer's author writes to have the laws tried on it: one class, mostly one method.

```python
class FolderHarness(Harness):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def layer(self) -> FolderLayer:
        return FolderLayer(self.folder)
```

Everything else has a default. A *hook* is a method that the laws about faults need; leave out the
ones you cannot give: laws that need them are reported as not tried, which is visible. `lacks` says
why.
"""

import itertools
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from acked import Channel, SystemClock, VirtualClock
from acked.abc import Clock, Layer

__all__ = ("HOOKS", "Call", "Direction", "Harness", "Remains", "VirtualHarness", "fresh")

Call: TypeAlias = Literal["publish", "receive", "settle", "extend"]
Direction: TypeAlias = Literal["to_server", "to_client"]

HOOKS: Final = (
    *("restart_broker", "kill_broker", "fall_back", "cut", "cut_after", "black_hole"),
    *("end_leases", "refuse", "busy", "forbid", "wipe", "kept", "set_clock"),
)
"""The methods of a harness that may be left out."""


class Remains(msgspec.Struct, frozen=True):
    """What a broker itself says it keeps; None: what it keeps by design, or cannot say."""

    messages: int | None = None
    """Of the topic, whoever they are kept for."""
    leases: int | None = None
    """Of the topic, that consumers of the group hold."""
    consumers: int | None = None
    """Of the group, on the topic."""


class Harness:
    """One broker, and how to reach it with the layer under test.

    `lease` is a short lease in seconds for the laws that let one end, `clock` the clock that the
    layer and the engine share, `url` where a child process finds the same broker (None: it cannot,
    and laws that kill processes are not tried), `recovery` the most seconds until a group goes on
    after a holder was killed, `notice` the most until the layer notices that no byte passes
    (None: it waits for ever),
    `soon` what bounds the wait for something that must happen, `limit` the whole of a law.
    """

    lease: float = 1.0
    recovery: float = 10.0
    notice: float | None = 10.0
    soon: float = 10.0
    limit: float = 100.0
    examples: int = 10
    """How many programs the laws of the model try: what takes half a minute on this broker."""
    most_held: int = 1 << 20
    """How many messages this broker lets one consumer hold at once, where it sets a bound."""
    clock: Clock = SystemClock()
    url: str | None = None

    restart_broker: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Stop the broker, start it again on the same data, return when it answers."""
    kill_broker: Callable[[], Coroutine[Any, Any, None]] | None = None
    """The same with SIGKILL in place of stopping."""
    fall_back: Callable[[], AbstractAsyncContextManager[None]] | None = None
    """Let the broker lose what is written while within, when that is left: as if another one took
    over, to which nothing of it had come. Meanwhile it answers, and afterwards."""
    cut: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Close every connection that layers of this harness have, as a failing network does."""
    cut_after: Callable[[int, Direction], Coroutine[Any, Any, None]] | None = None
    """The same, once, when so many more bytes have passed in that direction; a later call for it
    takes the place of an earlier one."""
    black_hole: Callable[[float], Coroutine[Any, Any, None]] | None = None
    """Let no byte through on these connections, nor close them, for so many seconds."""
    end_leases: Callable[[str, str], Coroutine[Any, Any, None]] | None = None
    """Where a lease is a connection: take from the consumers of the topic and the group, which
    live and stay, what they hold, as this broker does (a broken connection, a new generation)."""
    refuse: Callable[[str], Coroutine[Any, Any, None]] | None = None
    """From now on let the broker accept no dead letter for the topic, as if there was no room."""
    busy: Callable[[Call], AbstractAsyncContextManager[None]] | None = None
    """While within, let the broker say to whoever calls this that it cannot now: it is locked,
    full, read-only, without replicas. What else it cannot do then is all the same."""
    forbid: Callable[[Call], AbstractAsyncContextManager[None]] | None = None
    """While within, let the broker say that we may not do this: somebody took a right away."""
    wipe: Callable[[str], Coroutine[Any, Any, None]] | None = None
    """Remove all that the broker keeps of the topic, its groups too."""

    kept: Callable[[str, str], Coroutine[Any, Any, Remains]] | None = None
    """Ask the broker, past the layer, what it keeps of the topic, and of the group on it."""
    set_clock: Callable[[float], AbstractAsyncContextManager[None]] | None = None
    """While within, let the wall clock that the layer may read be wrong by so many seconds."""

    lacks: Mapping[str, str] = MappingProxyType({})
    """Why this broker cannot give a hook, by its name, or one call of it: `{"busy settle": "it asks
    nobody"}`. Laws that need it are reported as not tried, with these words."""

    shares_layer: bool = False
    """True where two layer objects know nothing of each other: `layer()` returns the same one."""

    def layer(self) -> Layer:
        """Return a layer over the broker, not yet entered; a new object unless `shares_layer`."""
        raise NotImplementedError("a harness needs layer(): return a layer over your broker")

    async def pass_time(self, seconds: float) -> None:
        """Return when `seconds` are over on `clock`, with everybody having had turns."""
        await anyio.sleep(seconds)

    async def stall(self, seconds: float) -> None:
        """Let `seconds` pass on `clock` in which nothing in this process has a turn."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking the loop is what is wanted

    def channel(self, layer: Layer | None = None, **options: Any) -> Channel[Any]:
        """Return a channel over `layer`, or a new one, with the harness's clock."""
        return Channel(layer or self.layer(), clock=self.clock, **options)

    def topic(self, word: str = "topic") -> str:
        """Return a topic's name that nobody else uses on this broker."""
        return fresh(word)

    def group(self, word: str = "group") -> str:
        """Return a group's name that nobody else uses on this broker."""
        return fresh(word)


class VirtualHarness(Harness):
    """For a layer that takes a clock and is its own broker: leases end in no time.

    ```python
    VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))
    ```
    """

    lease: float = 30.0
    soon: float = 3.0
    examples: int = 200
    shares_layer: bool = True

    def __init__(self, make: Callable[[Clock], Layer]) -> None:
        self.virtual: Final = VirtualClock()
        self.virtual.advance(1000.0)  # no real clock says 0, which a layer may take for no time
        self.clock: Clock = self.virtual
        self._layer = make(self.virtual)

    def layer(self) -> Layer:
        """Return the one layer."""
        return self._layer

    async def pass_time(self, seconds: float) -> None:
        """Advance the clock in steps smaller than a lease's renewals."""
        step = self.lease / 8
        while seconds > 0:
            await _everybody_had_turns()
            self.virtual.advance(min(step, seconds))
            seconds -= step
        await _everybody_had_turns()

    async def stall(self, seconds: float) -> None:
        """Advance the clock at once."""
        self.virtual.advance(seconds)


TURNS: Final = 50
"""More than any answer to a passing of time takes on a layer that waits for nothing outside."""


async def _everybody_had_turns() -> None:
    for _ in range(TURNS):
        await checkpoint()


_numbers = itertools.count()


def fresh(word: str) -> str:
    """Return a name that no other test uses on this broker."""
    return f"{word}-{os.getpid()}-{os.urandom(3).hex()}-{next(_numbers)}"
