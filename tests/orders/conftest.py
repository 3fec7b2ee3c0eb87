"""Services to try, each with a database of its own."""

import itertools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from compose.lifecycle import Broker
from tests.fix_brokers import PrivateBrokers
from tests.orders.kit import PASSWORD, Service

numbers = itertools.count()


@asynccontextmanager
async def new_database(server: str) -> AsyncGenerator[str]:
    """Make a database and a user that owns it, and drop them.

    Not the user `acked`: to whom a schema of that name, once it is made, is where tables are.
    """
    name = f"orders_{os.getpid()}_{next(numbers)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"create role {name} login")
        await admin.execute(f"create database {name} owner {name}")
        address = server.partition("@")[2].rpartition("/")[0]
        yield f"postgresql://{name}:{PASSWORD}@{address}/{name}"
        await admin.execute(f"drop database {name} with (force)")
        await admin.execute(f"drop role {name}")
    finally:
        await admin.close()


@pytest.fixture
async def service_on(
    postgres_broker: Broker, private_broker: PrivateBrokers, tmp_path: Path
) -> AsyncGenerator[Callable[[str], Awaitable[Service]]]:
    """A factory: it is told a broker's name, and serves; nobody works yet."""
    made: list[Service] = []
    async with new_database(postgres_broker.url) as database:

        async def make(name: str) -> Service:
            made.append(Service(database, broker_url(private_broker, name, database), tmp_path))
            await made[-1].serve()
            return made[-1]

        yield make
        for service in made:
            service.stop()


def broker_url(private_broker: PrivateBrokers, name: str, database: str) -> str:
    """Return the URL that moves the service to a broker: a new one, for its topics have one name."""
    if name == "postgres":
        return database.replace("postgresql:", "postgres-queue:")
    url = private_broker(name).url
    if name == "redis":
        return url.replace("redis:", "redis-streams:")
    return f"{url}?create_topics=4&session_timeout=6"
