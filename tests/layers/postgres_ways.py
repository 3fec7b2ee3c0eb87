"""The drivers whose transactions ours can take part in, each with one that is begun."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.layers.postgres_kit import connected


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[object]:
    async with connected(url) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[object]:
    async with asyncpg.create_pool(url, min_size=0) as pool, pool.acquire() as connection:
        async with connection.transaction():
            yield connection


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[object]:
    psycopg = pytest.importorskip("psycopg")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def by_psycopg_with_dicts(url: str) -> AsyncIterator[object]:
    psycopg, rows = pytest.importorskip("psycopg"), pytest.importorskip("psycopg.rows").dict_row
    async with await psycopg.AsyncConnection.connect(url, row_factory=rows) as connection:
        yield connection


@asynccontextmanager
async def by_session(url: str, driver: str = "asyncpg") -> AsyncIterator[object]:
    alchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = alchemy.create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
    try:
        async with alchemy.AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_session_of_psycopg(url: str) -> AsyncIterator[object]:
    async with by_session(url, "psycopg") as session:
        yield session


@asynccontextmanager
async def by_an_object_of_ours(url: str) -> AsyncIterator[object]:
    class Ours:
        async def fetch_value(self, statement: str, arguments: Sequence[object]) -> object:
            return await connection.fetchval(statement, *arguments)

    async with connected(url) as connection, connection.transaction():
        yield Ours()


WAYS = [
    by_asyncpg,
    by_asyncpg_pool,
    by_psycopg,
    by_psycopg_with_dicts,
    by_session,
    by_session_of_psycopg,
    by_an_object_of_ours,
]


@asynccontextmanager
async def outside_by_asyncpg(url: str) -> AsyncIterator[object]:
    async with connected(url) as connection:
        yield connection


@asynccontextmanager
async def outside_by_psycopg(url: str) -> AsyncIterator[object]:
    psycopg = pytest.importorskip("psycopg")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def outside_by_connection(
    url: str, driver: str = "asyncpg", kind: str = "AsyncConnection"
) -> AsyncIterator[object]:
    alchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    address = url.replace("postgresql://", f"postgresql+{driver}://")
    engine = alchemy.create_async_engine(address, isolation_level="AUTOCOMMIT")
    try:
        async with getattr(alchemy, kind)(engine) as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def outside_by_session_of_psycopg(url: str) -> AsyncIterator[object]:
    async with outside_by_connection(url, "psycopg", "AsyncSession") as session:
        yield session


OUTSIDE = [
    outside_by_asyncpg,
    outside_by_psycopg,
    outside_by_connection,
    outside_by_session_of_psycopg,
]
"""The same in no transaction: each statement commits by itself."""
