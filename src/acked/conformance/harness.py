"""What a layer's author writes to have the laws tried on it: one class, mostly one method.

```python
class FolderHarness(Harness):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def layer(self) -> FolderLayer:
        return FolderLayer(self.folder)
```

Everything else has a default. A *hook* is a method that the laws about faults need; leave out the
ones you cannot give: laws that need them are reported as not tried, which is visible.
"""

import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

import anyio

from acked import Channel, SystemClock
from acked.abc import Clock, Layer

__all__ = ("HOOKS", "Harness", "fresh")

HOOKS: Final = ("restart_broker", "kill_broker", "cut", "black_hole", "wipe")
"""The methods of a harness that may be left out."""


class Harness:
    """One broker, and how to reach it with the layer under test.

    `lease` is a short lease in seconds for the laws that let one end, `clock` the clock that the
    layer and the engine share, `url` where a child process finds the same broker (None: it cannot,
    and laws that kill processes are not tried), `recovery` the most seconds until a group goes on
    after a holder was killed.
    """

    lease: float = 1.0
    recovery: float = 10.0
    clock: Clock = SystemClock()
    url: str | None = None

    restart_broker: Callable[[], Awaitable[None]] | None = None
    """Stop the broker, start it again on the same data, return when it answers."""
    kill_broker: Callable[[], Awaitable[None]] | None = None
    """The same with SIGKILL in place of stopping."""
    cut: Callable[[], Awaitable[None]] | None = None
    """Close every connection that layers of this harness have, as a failing network does."""
    black_hole: Callable[[float], Awaitable[None]] | None = None
    """Let no byte through on these connections, nor close them, for so many seconds."""
    wipe: Callable[[str], Awaitable[None]] | None = None
    """Remove all that the broker keeps of the topic, its groups too."""

    shares_layer: ClassVar[bool] = False
    """True where two layer objects know nothing of each other: `layer()` returns the same one."""

    def layer(self) -> Layer:
        """Return a layer over the broker, not yet entered; a new object unless `shares_layer`."""
        raise NotImplementedError("a harness needs layer(): return a layer over your broker")

    async def pass_time(self, seconds: float) -> None:
        """Return when `seconds` are over on `clock`, with everybody having had turns."""
        await anyio.sleep(seconds)

    def channel(self, layer: Layer | None = None, **options: Any) -> Channel[Any]:
        """Return a channel over `layer`, or a new one, with the harness's clock."""
        return Channel(layer or self.layer(), clock=self.clock, **options)

    def topic(self, word: str = "topic") -> str:
        """Return a topic's name that nobody else uses on this broker."""
        return fresh(word)

    def group(self, word: str = "group") -> str:
        """Return a group's name that nobody else uses on this broker."""
        return fresh(word)


_numbers = itertools.count()


def fresh(word: str) -> str:
    """Return a name that no other test uses on this broker."""
    return f"{word}-{os.getpid()}-{os.urandom(3).hex()}-{next(_numbers)}"
