"""Databases that tests of outbox and inbox use, and what they see in the broker."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiosqlite
import anyio
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from acked import Channel, Delivery
from acked.outbox import Outbox
from tests.layers.postgres_kit import fresh
from tests.layers.postgres_ways import WAYS, by_asyncpg

Begun = Callable[[str], AbstractAsyncContextManager[object]]


class Database(NamedTuple):
    """Where the tables are, and how a transaction of the user's begins there."""

    url: str
    schema: str
    begun: Begun

    def begin(self) -> AbstractAsyncContextManager[object]:
        """Return a connection in a transaction, which commits unless the block raises."""
        return self.begun(self.url)

    def outbox(self, **options) -> Outbox:
        return Outbox(self.url, schema=self.schema, **options)


@asynccontextmanager
async def by_sqlite3(url: str) -> AsyncIterator[object]:
    connection = sqlite3.connect(url.removeprefix("sqlite://"))
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@asynccontextmanager
async def by_sqlite3_with_begin(url: str) -> AsyncIterator[object]:
    connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
    finally:
        connection.close()


@asynccontextmanager
async def by_aiosqlite(url: str) -> AsyncIterator[object]:
    async with aiosqlite.connect(url.removeprefix("sqlite://")) as connection:
        yield connection
        await connection.commit()


@asynccontextmanager
async def by_session_of_aiosqlite(url: str) -> AsyncIterator[object]:
    engine = create_async_engine(url.replace("sqlite://", "sqlite+aiosqlite:///"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def outside_by_sqlite3(url: str) -> AsyncIterator[object]:
    connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
    yield connection
    connection.close()


SQLITE_WAYS = [by_sqlite3, by_sqlite3_with_begin, by_aiosqlite, by_session_of_aiosqlite]
ALL_WAYS: Mapping[str, Begun] = {
    **{f"postgres_{one.__name__}": one for one in WAYS},
    **{one.__name__: one for one in SQLITE_WAYS},
}


def sqlite_at(path: Path, begun: Begun = by_sqlite3) -> Database:
    sqlite3.connect(path).close()
    return Database(f"sqlite://{path}", "acked", begun)


def postgres_at(url: str, begun: Begun = by_asyncpg) -> Database:
    return Database(url, fresh("box").replace("-", "_"), begun)


async def published(
    channel: Channel, topic: str, count: int, *, group: str = "g"
) -> list[Delivery]:
    """Return the next `count` messages of `topic`, acked."""
    got: list[Delivery] = []
    with anyio.fail_after(20):
        async with channel.subscribe(topic, group=group) as subscription:
            while len(got) < count:
                got.append(await anext(subscription))
                await got[-1].ack()
    return got


def firsts(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return what came for the first time of each message."""
    seen: dict[str, Delivery] = {}
    for one in deliveries:
        seen.setdefault(one.id, one)
    return list(seen.values())


async def until_waiting(outbox: Outbox, count: int) -> None:
    """Return when no more than `count` wait in `outbox`."""
    with anyio.fail_after(20):
        while (await outbox.status()).waiting > count:
            await anyio.sleep(0.02)
