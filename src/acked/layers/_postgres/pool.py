"""Connections that are lent for as long as all of it may take, and not longer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from acked.errors import ConnectionLost, LayerError
from acked.layers._postgres.server import (
    AnyConnection,
    Pool,
    PostgresServer,
    close_pool,
    dead_after,
    unless_broken,
)

__all__ = ("SESSION", "LendingPool", "PostgresSession")

SESSION: Final = "select pg_backend_pid() as session, pg_postmaster_start_time() as started"

TRY_AGAIN: Final = 0.02
"""Seconds until another one may have given back the connection that the server has no second of."""


class PostgresSession(NamedTuple):
    """Which session of which server a connection is in."""

    number: int
    started: datetime
    """When the server was started, to the microsecond: no two servers say the same."""


class LendingPool:
    """Up to `size` connections, which any number of tasks share."""

    def __init__(self, server: PostgresServer, size: int) -> None:
        self._server = server
        self._size = size
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make the first connection: a wrong address or password must show here."""
        self._pool = await self._server.pool(self._size)

    async def aclose(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool)

    async def renew(self) -> None:
        """Let every connection be made anew before it is used again."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def session(self) -> PostgresSession:
        """Return the session of one of them."""
        with self._server.translated():
            async with self.borrowed() as connection:
                row = await connection.fetchrow(SESSION)
        if row is None:
            raise ConnectionLost(f"{self._server.address} says nothing of its session")
        return PostgresSession(*row)

    @asynccontextmanager
    async def borrowed(self) -> AsyncGenerator[AnyConnection]:
        """Lend a connection; waiting for one and using it take the server's `timeout` together."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._server.timeout
        pool = self._pool
        if pool is None:
            raise ConnectionLost(f"the layer for {self._server.address} was closed")
        connection = await self._acquired(pool, deadline)
        try:
            left = max(0.0, deadline - loop.time())
            with dead_after(left, connection), unless_broken(connection):
                yield connection
        except BaseException:
            await pool.release(connection)
            raise
        await _given_back(connection)

    async def _acquired(self, pool: Pool, deadline: float) -> "PoolConnectionProxy[asyncpg.Record]":
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await pool.acquire(timeout=max(0.0, deadline - loop.time()))
            except asyncpg.TooManyConnectionsError:
                # The server has none left for us: wait for one of those that we have.
                if pool.get_size() == 0 or loop.time() + TRY_AGAIN > deadline:
                    raise
                await asyncio.sleep(TRY_AGAIN)
            except TimeoutError as error:
                if pool.get_size() == 0:
                    raise
                raise LayerError(
                    f"no connection to {self._server.address} was free within "
                    f"{self._server.timeout:g} s, of {self._size}; check that "
                    "PostgreSQL answers, publish in batches, or give a higher pool_size",
                    may_pass=True,
                ) from error


async def _given_back(connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
    """Do what asyncpg's `Pool.release` does, after which nothing is to be waited for.

    That one makes a task, lest a cancellation come between: two turns of the loop more for each
    publish. Here it may come only where the connection is being closed, and then ends it.
    """
    inside: Any = connection  # private to asyncpg, of which we take but one minor version
    if inside._con is not None:  # noqa: SLF001 - else it was closed meanwhile
        inside._con._on_release()  # noqa: SLF001
        await inside._holder.release(None)  # noqa: SLF001
