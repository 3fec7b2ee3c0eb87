"""Connections that are lent for as long as all of it may take, and not longer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

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


if TYPE_CHECKING:
    Lent: TypeAlias = PoolConnectionProxy[asyncpg.Record]
else:  # asyncpg's own class is not generic
    Lent = PoolConnectionProxy


class LendingPool:
    """Up to `size` connections, which any number of tasks share.

    One of them stays with us from one task to the next: to give it back to asyncpg's pool and take
    it from there again is a third of what a small statement costs this process.
    """

    def __init__(self, server: PostgresServer, size: int) -> None:
        self._server = server
        self._size = size
        self._pool: Pool | None = None
        self._at_hand: Lent | None = None
        self._age = 0
        """How often all connections were given up: one of before is not kept at hand."""
        self._waiting = 0

    async def open(self) -> None:
        """Make the first connection: a wrong address or password must show here."""
        self._pool = await self._server.pool(self._size)

    async def aclose(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await self._put_away()
            await close_pool(pool)

    async def renew(self) -> None:
        """Let every connection be made anew before it is used again."""
        if self._pool is not None:
            await self._put_away()
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
        age, connection = self._age, await self._taken()
        connection = connection or await self._acquired(pool, deadline)
        try:
            left = max(0.0, deadline - loop.time())
            with dead_after(left, connection), unless_broken(connection):
                yield connection
        except BaseException:
            await pool.release(connection)
            raise
        if self._at_hand is None and not self._waiting and self._age == age:
            self._at_hand = connection
        else:
            await _given_back(connection)

    async def _taken(self) -> Lent | None:
        """Return the connection that is at hand, unless it was lost meanwhile."""
        connection, self._at_hand = self._at_hand, None
        if connection is None or not _is_lost(connection):
            return connection
        await _given_back(connection)
        return None

    async def _put_away(self) -> None:
        """Give the connection that is at hand to asyncpg's pool, and keep none that is lent now."""
        self._age += 1
        connection = await self._taken()
        if connection is not None:
            await _given_back(connection)

    async def _acquired(self, pool: Pool, deadline: float) -> Lent:
        loop = asyncio.get_running_loop()
        while True:
            self._waiting += 1
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
            finally:
                self._waiting -= 1


def _is_lost(connection: Lent) -> bool:
    inside: Any = connection  # as below
    return inside._con is None or connection.is_closed()  # noqa: SLF001


async def _given_back(connection: Lent) -> None:
    """Do what asyncpg's `Pool.release` does, after which nothing is to be waited for.

    That one makes a task, lest a cancellation come between: two turns of the loop more for each
    publish. Here it may come only where the connection is being closed, and then ends it.
    """
    inside: Any = connection  # private to asyncpg, of which we take but one minor version
    if inside._con is not None:  # noqa: SLF001 - else it was closed meanwhile
        inside._con._on_release()  # noqa: SLF001
        await inside._holder.release(None)  # noqa: SLF001
