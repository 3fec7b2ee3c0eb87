"""What the tests of the queue file share: records, words for a feed's answers, an oracle."""

import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel

from acked.abc import AckFeed, AckLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.types import Leased, Outcome, Record, Settlement, Start, Token, Verb

LEASE = 30.0
TIMEOUT = 20.0
CONFIRMED, LOST, UNKNOWN = Outcome.CONFIRMED, Outcome.LOST, Outcome.UNKNOWN


def make(*names: str, topic: str = "t", timestamp: float = 1.0) -> list[Record]:
    return [Record(topic, name.encode(), name, timestamp=timestamp) for name in names]


def consuming(
    layer: AckLayer,
    *topics: str,
    group: str = "g",
    lease: float = LEASE,
    start: Start = Start.EARLIEST,
) -> AbstractAsyncContextManager[AckFeed]:
    return layer.consume(topics or ("t",), group, in_flight=100, lease=lease, start=start)


async def receive(feed: AckFeed, limit: int = 100) -> Sequence[Leased]:
    with anyio.fail_after(TIMEOUT):
        return await feed.receive(limit)


def seen(batch: Sequence[Leased]) -> list[tuple[str, int]]:
    return [(leased.record.id, leased.attempt) for leased in batch]


def tokens(batch: Sequence[Leased]) -> list[Token]:
    return [leased.token for leased in batch]


def acks(batch: Sequence[Leased]) -> list[Settlement]:
    return [Settlement(leased.token, Verb.ACK) for leased in batch]


async def settle(feed: AckFeed, *batch: Settlement) -> list[Outcome]:
    return list(await feed.settle(batch))


@contextmanager
def oracle(path: Path) -> Iterator[sqlite3.Connection]:
    """Look into the file past the layer."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        yield db
    finally:
        db.close()


@asynccontextmanager
async def counting(layer: SQLiteQueueLayer) -> AsyncGenerator[list[int]]:
    """Count what SQLite executes meanwhile, in steps of ten instructions."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    db = layer._access.file._db
    assert db is not None
    db.set_progress_handler(step, 10)
    try:
        yield steps
    finally:
        db.set_progress_handler(None, 0)


def kept(path: Path) -> list[str]:
    with oracle(path) as db:
        return [name for (name,) in db.execute("SELECT id FROM message ORDER BY seq")]


async def until_it_waits(layer: SQLiteQueueLayer, feed: AckFeed) -> None:
    """Return when `feed` has looked into the file, found nothing, and waits for news."""
    assert isinstance(feed, SQLiteQueueFeed)
    with anyio.fail_after(TIMEOUT):
        while feed._looking or not layer._access._waiting:
            await anyio.lowlevel.checkpoint()
