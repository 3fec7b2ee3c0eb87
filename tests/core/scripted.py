"""A layer that does what a test tells it to, and records what the engine asked of it."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import msgspec

from acked import AckSubscription as Subscription
from acked.abc import AckFeed, Sink
from acked.errors import LayerError
from acked.types import (
    Capabilities,
    Leased,
    Outcome,
    Receipt,
    Record,
    Reply,
    Settlement,
    Start,
    Token,
    Verb,
)

EVERYTHING = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    groups=True,
    replay=True,
    headers=True,
    keys=True,
    lease="timer",
)


def leased(number: int, body: bytes = b"1", *, topic: str = "t", attempt: int = 1) -> Leased:
    return Leased(Record(topic, body, f"id-{number}"), number, attempt, f"at-{number}")


class ScriptedLayer:
    """Hands out what is put into `ready`; settles as `outcome` says while `answering` is set."""

    def __init__(self, *ready: Leased, capabilities: Capabilities = EVERYTHING) -> None:
        self.capabilities = capabilities
        self.ready: deque[Leased | Exception] = deque(ready)
        self.arrived = anyio.Event()
        self.answering = anyio.Event()
        self.answering.set()
        self.outcome: Outcome | LayerError = Outcome.CONFIRMED
        self.extension: Outcome | Exception = Outcome.CONFIRMED
        self.replies: list[Sequence[Reply]] = []
        """What the next settlements and extensions are answered, before `outcome` is."""
        self.extending = anyio.Event()
        self.extending.set()
        self.published: list[Record] = []
        self.batches: list[list[Settlement]] = []
        self.receives: list[int] = []
        self.extended: list[tuple[list[Token], float]] = []
        self.released: list[Token] = []
        self.releasing = anyio.Event()
        self.releasing.set()
        self.story: list[str] = []

    async def __aenter__(self) -> Self:
        self.story.append("opened")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.story.append("closed")

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        self.published.extend(records)
        return [Receipt(record.id, record.topic) for record in records]

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncIterator[AckFeed]:
        self.story.append("joined")
        yield ScriptedFeed(self)
        self.story.append("left")

    def put(self, *more: Leased | Exception) -> None:
        self.ready.extend(more)
        self.arrived.set()

    def settled(self, verb: Verb) -> list[Token]:
        return [s.token for batch in self.batches for s in batch if s.verb is verb]


class ScriptedFeed:
    def __init__(self, layer: ScriptedLayer) -> None:
        self.layer = layer

    async def receive(self, limit: int) -> Sequence[Leased]:
        layer = self.layer
        layer.receives.append(limit)
        while not layer.ready:
            layer.arrived = anyio.Event()
            await layer.arrived.wait()
        if isinstance(layer.ready[0], Exception):
            raise layer.ready.popleft()  # type: ignore[misc]
        batch: list[Any] = []
        while layer.ready and len(batch) < limit and isinstance(layer.ready[0], Leased):
            batch.append(layer.ready.popleft())
        return batch

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        layer = self.layer
        layer.batches.append(list(batch))
        layer.story.append(f"settle {len(batch)}")
        await layer.answering.wait()
        if layer.replies:
            return layer.replies.pop(0)
        if isinstance(layer.outcome, LayerError):
            raise layer.outcome
        return [layer.outcome] * len(batch)

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        self.layer.extended.append((list(tokens), seconds))
        await self.layer.extending.wait()
        if self.layer.replies:
            return self.layer.replies.pop(0)
        if isinstance(self.layer.extension, Exception):
            raise self.layer.extension
        return [self.layer.extension] * len(tokens)

    async def release(self, tokens: Sequence[Token]) -> None:
        self.layer.released.extend(tokens)
        await self.layer.releasing.wait()
        self.layer.story.append("release")


async def prefetch(subscription: Subscription[Any], count: int) -> None:
    """Have `count` messages, all that are ready, fetched and seen by nobody."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, subscription.batches(count + 1, wait=60))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


def without(**flags: object) -> Capabilities:
    return msgspec.structs.replace(EVERYTHING, **flags)


class ScriptedNews:
    """A fire-and-forget layer whose sinks a test feeds by hand."""

    def __init__(self, *, capabilities: Capabilities | None = None) -> None:
        self.capabilities = capabilities or Capabilities(lossy=True)
        self.sinks: list[Sink] = []
        self.published: list[Record] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return

    async def publish(self, records: Sequence[Record]) -> None:
        self.published.extend(records)

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncIterator[None]:
        self.sinks.append(sink)
        yield
        self.sinks.remove(sink)
