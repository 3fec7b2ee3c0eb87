"""One listening at a layer for all who listen to the same topic in this process.

Rules:

1. The first listener of a topic lets the layer listen, the last one to leave ends it. Both take
   turns for each topic, so that neither can undo the other.
2. A listener hears what arrives after it has joined.
3. A listening that failed fails all its listeners; the next one to join starts another.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Self

import anyio

from acked.abc import FireAndForgetLayer, Sink
from acked.compat._holding import Held
from acked.errors import LayerError
from acked.types import Gap, GapCause, Record

__all__ = ("Shared",)

DROPPED: Final = Gap(1, frozenset({GapCause.OVERFLOW}))


class Shared:
    """A layer whose listeners share: a consumer of a broker for each topic, not for each of them.

    No listener waits for another one: a full one drops by its policy (`Overflow.BLOCK` drops too).
    """

    def __init__(self, layer: FireAndForgetLayer) -> None:
        self.capabilities: Final = layer.capabilities
        self._layer = layer
        self._fans: dict[str, _Fan] = {}

    def __repr__(self) -> str:
        return f"Shared({self._layer!r})"

    async def __aenter__(self) -> Self:
        """Open the layer beneath."""
        await self._layer.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the layer beneath."""
        await self._layer.__aexit__(exc_type, exc, traceback)

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish by the layer beneath."""
        await self._layer.publish(records)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed everything published to `topics` into `sink` for as long as this is entered."""
        async with AsyncExitStack() as stack:
            for topic in topics:
                await stack.enter_async_context(self._listen(topic, sink))
            yield

    @asynccontextmanager
    async def _listen(self, topic: str, sink: Sink) -> AsyncGenerator[None]:
        fan = self._fans.setdefault(topic, _Fan())
        fan.users += 1
        try:
            async with fan.turn:
                await self._start(topic, fan)
                fan.sinks[sink] = None
            yield
        finally:
            fan.sinks.pop(sink, None)
            with anyio.CancelScope(shield=True):
                await self._leave(topic, fan)

    async def _start(self, topic: str, fan: "_Fan") -> None:
        if fan.held is not None and not fan.failed:
            return
        await fan.stop()
        held = Held(self._layer.listen([topic], fan))
        await held.enter()
        fan.held = held

    async def _leave(self, topic: str, fan: "_Fan") -> None:
        async with fan.turn:
            fan.users -= 1
            if not fan.users:
                await fan.stop()
            # Race: somebody may have joined meanwhile, and waits for the turn.
            if not fan.users:
                del self._fans[topic]


class _Fan:
    """The listeners of one topic, as the layer beneath sees them: one sink."""

    def __init__(self) -> None:
        self.turn: Final = anyio.Lock()
        self.users = 0
        """Listeners, and those who are about to become one."""
        self.sinks: dict[Sink, None] = {}
        self.held: Held | None = None
        self.failed = False

    async def stop(self) -> None:
        """End the listening, if there is one."""
        held, self.held, self.failed = self.held, None, False
        if held is not None:
            await held.leave()

    def offer(self, record: Record) -> bool:
        """Hand `record` to everybody; see `acked.abc.Sink`."""
        for sink in self.sinks:
            if not sink.offer(record):
                sink.gap(DROPPED)
        return True

    async def send(self, record: Record) -> None:
        """Hand `record` to everybody; see `acked.abc.Sink`."""
        self.offer(record)

    def gap(self, gap: Gap) -> None:
        """Tell everybody; see `acked.abc.Sink`."""
        for sink in self.sinks:
            sink.gap(gap)

    def fail(self, error: LayerError) -> None:
        """Tell everybody; see `acked.abc.Sink`."""
        self.failed = True
        for sink in self.sinks:
            sink.fail(error)
