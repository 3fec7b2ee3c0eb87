"""What a queue's server is asked to do, one statement each, over connections that are lent."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Final, cast

import asyncpg

from acked.errors import LayerError
from acked.layers._postgres.pool import LendingPool
from acked.layers._postgres.server import PostgresServer
from acked.layers._postgres.transactions import StoredFunction, call_in
from acked.layers.postgres_queue._functions import QueueFunctions
from acked.types import Start

__all__ = ("ALIVE_FOR", "CLAIM_BYTES", "LISTENERS", "QueueStore", "new_number")

ALIVE_FOR: Final = 30.0
"""Seconds for which a consumer counts as living after it was last heard of."""

DEAD_AFTER: Final = 300.0
"""Seconds of silence after which a listener's own group is removed by whoever comes by."""

LISTENERS: Final = "acked-news-"
"""What the name of a group begins with that belongs to one listener: of `fire_and_forget`."""

PAGE: Final = 5000
"""How many rows one transaction of a removal deletes."""

CLAIM_BYTES: Final = 2 * 1024 * 1024
"""A claim stops after so many bytes: `limit` large messages need not fit into memory."""

TRY_AGAIN: Final = 0.1
"""Seconds between two tries to be alone with a topic."""


class QueueStore:
    """The queue in one schema of a server, over the connections that consumers share."""

    def __init__(
        self, server: PostgresServer, pool: LendingPool, functions: QueueFunctions
    ) -> None:
        self.functions: Final = functions
        self._server = server
        self._pool = pool

    async def value(self, statement: str, *arguments: object) -> Any:
        """Return the one value of `statement`. Raises `LayerError` in our words."""
        with self._server.translated():
            async with self._pool.borrowed() as connection:
                return await connection.fetchval(statement, *arguments)

    async def call(self, function: StoredFunction, arguments: Sequence[object]) -> Any:
        """Return what `function` returns. Raises `LayerError` in our words."""
        return await self.value(function.numbered(), *arguments)

    async def call_in(
        self, connection: object, function: StoredFunction, arguments: Sequence[object]
    ) -> object:
        """Return what `function` returns, called in the transaction of the user's `connection`."""
        return await call_in(connection, function, arguments, self._server.address)

    async def rows(self, statement: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Return the rows of `statement`. Raises `LayerError` in our words."""
        with self._server.translated():
            async with self._pool.borrowed() as connection:
                return await connection.fetch(statement, *arguments)

    async def join(
        self, topic: str, group: str, start: Start, *, in_key_order: bool = False
    ) -> int:
        """Return the number of `group` of `topic`; one that is new begins at `start`."""
        asked, what = (topic, group, start.kind, start.time), f"group {group!r} joins"
        number = cast("int", await self._alone(what, self.functions.join, *asked))
        if in_key_order:
            await self._alone(what, self.functions.keep_lanes, number)
        return number

    async def remove(self, topics: Sequence[str], group: str) -> None:
        """Let `group` of `topics` owe nothing more, or raise `LayerError`, nothing changed."""
        what = f"group {group!r} is removed"
        busy = await self._alone(what, self.functions.remove_group, list(topics), group)
        if busy is not None:
            raise LayerError(
                f"group {group!r} has a consumer of {busy!r}, or had one until {ALIVE_FOR:g} s ago "
                "that was killed; close its consumers before removing it"
            )

    async def sweep(self) -> bool:
        """Delete a page of what is kept for nobody; return whether there is more."""
        pattern = LISTENERS.replace("_", r"\_") + "%"
        return bool(await self.value(self.functions.sweep, pattern, DEAD_AFTER, PAGE))

    async def _alone(self, what: str, statement: str, *arguments: object) -> object:
        """Return the value of a statement that waits for whoever publishes to its topics."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._server.timeout
        while True:
            try:
                return await self.value(statement, *arguments)
            except LayerError as error:
                if not isinstance(
                    error.__cause__, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError
                ):
                    raise
                if loop.time() > deadline:
                    raise LayerError(
                        f"a transaction that publishes was open for {self._server.timeout:g} s, "
                        f"and nobody may publish while {what}; end it (the oldest xact_start in "
                        "pg_stat_activity), then try again",
                        may_pass=True,
                    ) from error
                await asyncio.sleep(TRY_AGAIN)


def new_number() -> int:
    """Return a number that proves a lease: nobody else's, and not `random`'s, which forks share."""
    return secrets.randbits(62) | 1
