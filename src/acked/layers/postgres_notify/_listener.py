"""One subscription, as the connection that listens knows it."""

import asyncio
from collections.abc import Sequence
from typing import Final

import anyio

from acked.abc import Sink
from acked.errors import ConnectionLost, LayerError
from acked.layers._shared.blocked_sink import BACKLOG_BYTES, BlockedSink

__all__ = ("NotifyListener",)


class NotifyListener:
    """One subscription: what it listens to, and whether it has entered."""

    def __init__(self, topics: Sequence[str], sink: Sink) -> None:
        self.topics: Final = topics
        self.entered: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._sink = BlockedSink(sink, BACKLOG_BYTES)
        self.offer: Final = self._sink.offer  # called for every message
        self.gap: Final = self._sink.gap

    def enter(self) -> None:
        """Let the subscriber go on, who waits for `entered`."""
        if not self.entered.done():
            self.entered.set_result(None)

    def fail(self, error: LayerError) -> None:
        """Pass `error` on: to who waits to enter, or to the sink, behind everything that waits."""
        if not self.entered.done():
            self.entered.set_exception(error)
        else:
            self._sink.fail(error)

    async def leave(self) -> None:
        """Never call the sink again."""
        if not self.entered.cancel() and not self.entered.cancelled():
            self.entered.exception()  # or asyncio would log that nobody looked at it
        await self._sink.aclose()

    async def wait_to_enter(self, timeout: float, address: str) -> None:
        """Return once all its topics are confirmed; raise what ended it, or after `timeout` s."""
        with anyio.move_on_after(timeout):
            await self.entered
        if not self.entered.done() or self.entered.cancelled():
            raise ConnectionLost(
                f"no connection to {address} to listen on within {timeout} s; check that "
                "PostgreSQL runs there and can be reached"
            )
