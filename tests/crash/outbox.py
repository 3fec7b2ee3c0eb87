"""`python -m tests.crash.outbox`: published is committed, in order by key, whatever breaks.

A publisher makes orders in PostgreSQL, each in a transaction with a message in the outbox; a third
is rolled back. A relay moves them to Redis Streams; it is killed and replaced, and Redis restarted.
Then a consumer with an inbox ships what came: every order that was committed, once, and those of a
customer in their order. One line of JSON; status 1 if it is not so.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import asyncpg

from acked import Channel
from acked.inbox import Inbox
from acked.layers.redis_streams import RedisStreamsLayer
from acked.outbox import Outbox
from compose.fleet import create
from compose.lifecycle import Broker

TOPIC = "orders"
CUSTOMERS = 20
TASKS = 4
PATIENCE = 60.0


async def publisher(url: str, messages: int) -> None:
    """Begin so many transactions; every third is rolled back. A customer has one task."""
    async with Outbox(url) as outbox, asyncpg.create_pool(url, min_size=0) as pool:

        async def work(first: int) -> None:
            for number in range(first, messages, TASKS):
                async with pool.acquire() as connection:
                    transaction = connection.transaction()
                    await transaction.start()
                    await connection.execute("insert into orders values ($1)", number)
                    key = str(number % CUSTOMERS)
                    await outbox.publish(TOPIC, number, key=key, connection=connection)
                    await (transaction.rollback() if number % 3 == 2 else transaction.commit())

        async with asyncio.TaskGroup() as tasks:
            for first in range(TASKS):
                tasks.create_task(work(first))


class Relay:
    """`acked outbox relay`, begun again whenever it has ended."""

    def __init__(self, database: str, url: str) -> None:
        self._environment = os.environ | {"ACKED_OUTBOX": database, "ACKED_URL": url}
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "acked", "outbox", "relay"]
        self._child = subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)

    def look(self) -> None:
        """Replace it if it has ended: it may have begun while Redis was away."""
        if self._child.poll() is not None:
            self._start()

    def kill(self) -> None:
        """Kill it."""
        self._child.kill()
        self._child.wait()


def run(messages: int, *, kills: int, restarts: int) -> dict[str, object]:
    """Return what came of it."""
    with create("postgres") as postgres, create("redis") as redis:
        postgres.start()
        redis.start()
        began = time.monotonic()
        report = asyncio.run(_play(postgres.url, redis, messages, kills, restarts))
        return report | {"seconds": round(time.monotonic() - began, 1)}


async def _play(
    database: str, redis: Broker, messages: int, kills: int, restarts: int
) -> dict[str, object]:
    connection = await asyncpg.connect(database)
    await connection.execute(
        "create table orders (number int primary key); create table shipped (number int)"
    )
    streams = redis.url.replace("redis://", "redis-streams://")
    relay = Relay(database, streams)
    publishing = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.outbox", "publisher", database, str(messages)]
    )

    def restart() -> None:
        redis.kill()
        redis.start()

    faults: list[tuple[int, Callable[[], object]]] = []
    faults += [(messages * (n + 1) // (kills + 2), relay.kill) for n in range(kills)]
    faults += [(messages * (n + 1) // (restarts + 2) + 1, restart) for n in range(restarts)]
    try:
        for at, fault in sorted(faults, key=lambda one: one[0]):
            await _until(connection, relay, at, publishing)
            await asyncio.to_thread(fault)
        await _until(connection, relay, messages * 2, publishing)
    finally:
        relay.kill()
        publishing.kill()
        publishing.wait()
    seen, repeats = await _ship(database, redis.url, connection)
    asked = connection.fetchval
    report: dict[str, object] = {
        "committed": await asked("select count(*) from orders"),
        "shipped": await asked("select count(distinct number) from shipped"),
        "twice": await asked("select count(*) - count(distinct number) from shipped"),
        "invented": await asked(
            "select count(*) from shipped where number not in (select number from orders)"
        ),
        "out_of_order": sum(
            sorted(of_one) != of_one
            for customer in range(CUSTOMERS)
            if (of_one := [number for number in seen if number % CUSTOMERS == customer])
        ),
        "left": await asked("select count(*) from acked.outbox"),
        "repeats": repeats,
        "kills": kills,
        "restarts": restarts,
    }
    await connection.close()
    return report


async def _until(
    connection: asyncpg.Connection, relay: Relay, moved: int, publishing: subprocess.Popen[bytes]
) -> None:
    """Return when so many were put in and are gone again, or the publisher is done and all are."""
    last, since = (-1, -1), time.monotonic()
    while time.monotonic() - since < PATIENCE:
        relay.look()
        there = await connection.fetchval("select to_regclass('acked.outbox') is not null")
        waiting = await connection.fetchval("select count(*) from acked.outbox") if there else 0
        orders = await connection.fetchval("select count(*) from orders")
        has_ended = publishing.poll() is not None
        if (orders - waiting) * 3 // 2 >= moved or (has_ended and not waiting):
            return
        if (orders, waiting) != last:
            last, since = (orders, waiting), time.monotonic()
        await asyncio.sleep(0.02)


async def _ship(database: str, url: str, connection: asyncpg.Connection) -> tuple[list[int], int]:
    """Ship what is in the stream, and return it in the order of its firsts, and the repeats."""
    seen: list[int] = []
    repeats = 0
    async with (
        Inbox(database) as inbox,
        Channel(RedisStreamsLayer(url)) as channel,
        channel.subscribe(TOPIC, group="shipping") as orders,
    ):
        await channel.publish(TOPIC, -1)
        async for delivery in orders:
            if delivery.body == -1:
                await delivery.ack()
                return seen, repeats
            async with delivery, connection.transaction():
                if await inbox.first_time(delivery, connection=connection):
                    await connection.execute("insert into shipped values ($1)", delivery.body)
                    seen.append(int(str(delivery.body)))
                else:
                    repeats += 1
    raise AssertionError("the subscription ended by itself")


def held(report: dict[str, object]) -> bool:
    """Say whether it shows what it should."""
    bad = ("twice", "invented", "out_of_order", "left")
    return report["committed"] == report["shipped"] != 0 and not any(report[one] for one in bad)


def main() -> int:
    """Play the publisher, or the whole run."""
    if sys.argv[1:2] == ["publisher"]:
        asyncio.run(publisher(sys.argv[2], int(sys.argv[3])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=1)
    given = parser.parse_args()
    report = run(given.messages, kills=given.kills, restarts=given.restarts)
    print(json.dumps(report))
    return 0 if held(report) else 1


if __name__ == "__main__":
    sys.exit(main())
