"""A layer that costs next to nothing: what is measured over it is the engine alone."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from acked.abc import AckFeed
from acked.types import (
    Capabilities,
    Leased,
    Outcome,
    Receipt,
    Record,
    Settlement,
    Start,
    Token,
)


class RecordingLayer:
    """Hands out `leased` in batches, as fast as it is asked, and counts settlements."""

    capabilities = Capabilities(
        confirmed_ack=True, nack=True, reject=True, groups=True, out_of_order_ack=True
    )

    def __init__(self, leased: Sequence[Leased]) -> None:
        self.leased = leased
        self.settled = 0
        self.flushes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        return [Receipt(record.id, record.topic) for record in records]

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[AckFeed]:
        yield RecordingFeed(self)


class RecordingFeed:
    def __init__(self, layer: RecordingLayer) -> None:
        self._layer = layer
        self._next = 0

    async def receive(self, limit: int) -> Sequence[Leased]:
        batch = self._layer.leased[self._next : self._next + limit]
        if not batch:
            await anyio.sleep_forever()
        self._next += len(batch)
        return batch

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        self._layer.settled += len(batch)
        self._layer.flushes += 1
        return [Outcome.CONFIRMED] * len(batch)

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        return [Outcome.CONFIRMED] * len(tokens)

    async def release(self, tokens: Sequence[Token]) -> None:
        return
