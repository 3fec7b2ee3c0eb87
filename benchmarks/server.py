"""What a server counts of the contenders that use it."""

import asyncio
from typing import Any, NamedTuple, cast

import asyncpg
import redis

from compose.lifecycle import Broker

__all__ = ("Counts", "counts_at")

TRANSACTIONS = "select sum(xact_commit + xact_rollback)::int8 from pg_stat_database"


class Counts(NamedTuple):
    """What a server has done so far; None where it does not tell."""

    cpu: float | None = None
    """Seconds of its processor."""
    commands: int | None = None
    """Commands of Redis, transactions of PostgreSQL."""

    def since(self, before: "Counts", messages: int) -> "tuple[float | None, float | None]":
        """Return microseconds and commands for each of `messages` since `before`."""
        cpu = _each(self.cpu, before.cpu, messages)
        return None if cpu is None else 1e6 * cpu, _each(self.commands, before.commands, messages)


def _each(after: float | None, before: float | None, messages: int) -> float | None:
    return None if after is None or before is None else (after - before) / messages


def counts_at(broker: Broker | None) -> Counts:
    """Return what the server has counted; nothing where there is none."""
    return Counts() if broker is None else Counts(broker.cpu_seconds, _commands(broker.url))


def _commands(url: str) -> int | None:
    match url.partition(":")[0]:
        case "redis":
            make = cast("Any", redis.Redis)  # its types are partly unknown
            with make.from_url(url) as client:
                return int(client.info("stats")["total_commands_processed"])
        case "postgresql" | "postgres":
            return asyncio.run(_transactions(url))
        case _:
            return None


async def _transactions(url: str) -> int:
    connection: Any = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(TRANSACTIONS))
    finally:
        await connection.close()
