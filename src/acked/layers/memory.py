"""News within one process: whoever listens gets it, nobody else does.

**Semantics** — Fire-and-forget. `publish` offers each record to every subscription that listens
on its topic at that moment, without any task or queue in between; nobody listening, nothing
happens. A subscription with `Overflow.BLOCK` that has no room is waited for last: whatever all
the others are to get they have by then, so a stuck subscription delays publishers and no other
subscription. Bodies are bytes, so nothing is shared that could be changed.

**Ordering** — Every subscription gets the records in the order of publishing, topics mixed.
Publishers that wait for the same full subscription are served in the order in which they came.

**Acknowledgement** — None: a message has no `ack()`. Use `memory_queue` for debts.

**Loses messages when** — A subscription is slower than its overflow policy allows (counted in a
gap); a publisher is cancelled while it waits for a full subscription (that subscription is told by
a gap, the others have the message); nobody listens; the process ends.

**Native handle** — None: the layer object is the broker. Two layers know nothing of each other.

**Requires** — Nothing but `acked`; asyncio or trio.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from acked._machines.glob import glob
from acked.abc import Sink
from acked.errors import ConfigurationError, hiding_arguments
from acked.layers._shared.findings import in_this_process
from acked.layers._shared.urls import url_options, without_credentials
from acked.types import Capabilities, Finding, Gap, GapCause, Record

__all__ = ("MemoryLayer",)

CAPABILITIES: Final = Capabilities(
    batch_publish=True,
    publish_confirm=True,
    headers=True,
    keys=True,
    patterns=True,
    lossy=True,
    order="total",
)

RECORDS_BETWEEN_CHECKPOINTS: Final = 32
"""How many records may go out before a publisher lets the readers run.

A few, so that small subscriptions need not drop; yet more than one, since a turn of the loop costs
more than a record.
"""


class MemoryLayer:
    """Carries news from publishers to the subscriptions of the same layer object."""

    def __init__(self) -> None:
        self.capabilities: Final = CAPABILITIES
        self._listeners: dict[str, dict[_Listener, None]] = {}
        self._patterns: dict[_Listener, list[Callable[[str], bool]]] = {}
        self._before_checkpoint = RECORDS_BETWEEN_CHECKPOINTS

    def __repr__(self) -> str:
        counts = (f"{topic!r} {len(found)}" for topic, found in sorted(self._listeners.items()))
        return f"<MemoryLayer, subscriptions: {', '.join(counts) or 'none'}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "MemoryLayer":
        """Return a layer for `memory://`; it has no name and no options."""
        url_options(url, frozenset())
        parts = urlsplit(url)
        if parts.netloc or parts.path:
            raise ConfigurationError(
                f"{without_credentials(url)} names something, but every memory:// is a layer of "
                "its own; share the layer object, or use memory-queue://name"
            )
        return cls()

    async def __aenter__(self) -> Self:
        """Return the layer: there is nothing to connect."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: listeners leave by themselves."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Offer `records` to whoever listens; wait at the end for those that have no room.

        Cancelled while it waits: every other subscription has the records, the full ones are told
        by a gap.
        """
        self._before_checkpoint -= len(records)
        if self._before_checkpoint < 0:
            self._before_checkpoint = RECORDS_BETWEEN_CHECKPOINTS
            await anyio.lowlevel.checkpoint()  # before the first record: cancelled here, all absent
        late = self._offer(records)
        if late:
            await _send_late(late)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed everything published to `topics` into `sink` for as long as this is entered."""
        listener = _Listener(sink)
        for topic in topics:
            self._listeners.setdefault(topic, {})[listener] = None
        try:
            yield
        finally:
            self._forget(topics, listener)
            listener.leave()

    @asynccontextmanager
    async def listen_patterns(self, patterns: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed what is published to any topic that matches into `sink`; see `PatternLayer`."""
        listener = _Listener(sink)
        self._patterns[listener] = [glob(pattern) for pattern in patterns]
        try:
            yield
        finally:
            del self._patterns[listener]
            listener.leave()

    async def check(self) -> Sequence[Finding]:
        """Say what holds for every memory layer: there is no server to ask."""
        return [in_this_process()]

    def _listening(self, topic: str) -> "Iterable[_Listener]":
        found: Iterable[_Listener] = self._listeners.get(topic, ())
        if not self._patterns:
            return found
        matching = (one for one, globs in self._patterns.items() if any(g(topic) for g in globs))
        return [*found, *matching]

    def _offer(self, records: Sequence[Record]) -> "dict[_Listener, deque[Record]]":
        """Offer without waiting; return what is late, for each listener that had no room."""
        late: dict[_Listener, deque[Record]] = {}
        for record in records:
            for listener in self._listening(record.topic):
                # Order: behind a late record of this publish, or of a publisher that waits
                # already, even a record that finds room is late.
                if listener.waiting or not listener.offer(record):
                    if listener not in late:
                        late[listener] = deque()
                        listener.waiting += 1
                    late[listener].append(record)
        return late

    def _forget(self, topics: Sequence[str], listener: "_Listener") -> None:
        for topic in topics:
            remaining = self._listeners.get(topic, {})
            remaining.pop(listener, None)
            if not remaining:
                self._listeners.pop(topic, None)


class _Listener:
    """One subscription as publishers see it, and the publishers that wait for it."""

    __slots__ = ("_left", "_line", "offer", "sink", "waiting")

    def __init__(self, sink: Sink) -> None:
        self.sink: Final = sink
        self.offer: Final = sink.offer
        self.waiting = 0
        self._line: _WaitingPublishers | None = None  # from the first publisher that waits on
        self._left = False

    async def send(self, records: deque[Record]) -> None:
        """Send and remove `records` one by one, until none is left or the listener has left."""
        with anyio.CancelScope() as scope:
            if self._left:
                return
            line = self._line = self._line or _WaitingPublishers()
            line.scopes.add(scope)
            try:
                async with line.turn:
                    while records:
                        await self.sink.send(records[0])
                        records.popleft()
            finally:
                line.scopes.discard(scope)

    def done(self, unsent: int) -> None:
        """Note that one publisher waits no more, and what it did not get rid of."""
        self.waiting -= 1
        if unsent and not self._left:
            self.sink.gap(Gap(unsent, frozenset({GapCause.OVERFLOW})))

    def leave(self) -> None:
        """Let the publishers go that wait for a sink which nobody reads any more."""
        self._left = True
        for scope in tuple(self._line.scopes) if self._line is not None else ():
            scope.cancel()


class _WaitingPublishers:
    """The publishers that wait for one subscription: first come, first served."""

    def __init__(self) -> None:
        self.turn: Final = anyio.Lock()
        self.scopes: Final[set[anyio.CancelScope]] = set()


async def _send_late(late: dict[_Listener, deque[Record]]) -> None:
    """Send to each listener as soon as it has room: two stuck ones do not wait for each other."""
    try:
        if len(late) == 1:
            ((listener, records),) = late.items()
            await listener.send(records)
        else:
            async with anyio.create_task_group() as together:
                for listener, records in late.items():
                    together.start_soon(listener.send, records)
    finally:
        for listener, records in late.items():
            listener.done(len(records))
