"""`python -m tests.crash.exactly_once`: effects exactly once, in PostgreSQL, whatever breaks.

A publisher makes orders, each in a transaction with the publish of its message; a third of them is
rolled back. Workers ship them: the effect and the ack are in one transaction, some of which fail
behind the ack. Workers are killed and replaced, the server is restarted; then every order that was
committed must have been shipped, once, and nothing else. One line of JSON; status 1 if it is not so.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg

from acked import AckedError, Channel
from acked.layers.postgres_queue import PostgresQueueLayer
from compose.fleet import create
from compose.lifecycle import Broker

TOPIC = "orders"
WORKERS = 3
LEASE = 2.0
LOST = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what it says of a connection that is just being lost
    OSError,
    AckedError,
)
PATIENCE = 60.0


class Unlucky(Exception):
    """A handler failed after it had acked."""


async def publisher(url: str, committed: int) -> None:
    """Commit so many orders, and roll back half as many."""
    async with (
        asyncpg.create_pool(url, min_size=0, max_size=4) as pool,
        Channel(PostgresQueueLayer(url)) as channel,
    ):
        numbers = iter(range(committed + committed // 2))

        async def work() -> None:
            for number in numbers:
                while True:
                    try:
                        await order(pool, channel, number)
                        break
                    except LOST:  # committed or not, the order and its message are of one mind
                        await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(work())


async def again_and_again(part: Callable[[], Awaitable[None]]) -> None:
    """Play a part until it ends well: it may be begun while the server starts."""
    is_done = False
    while not is_done:
        try:
            await part()
            is_done = True
        except* LOST:
            await asyncio.sleep(0.2)


async def order(pool: asyncpg.Pool, channel: Channel, number: int) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        made = "insert into orders values ($1) on conflict do nothing returning number"
        if await connection.fetchval(made, number) is not None:
            await channel.publish(TOPIC, number, connection=connection)
        await (transaction.rollback() if number % 3 == 2 else transaction.commit())


async def worker(url: str, name: str) -> None:
    """Ship what is ordered, for ever."""
    async with (
        asyncpg.create_pool(url, min_size=0, max_size=8) as pool,
        Channel(PostgresQueueLayer(url)) as channel,
        channel.subscribe(TOPIC, group="shipping", lease=LEASE, in_flight=64) as subscription,
        asyncio.TaskGroup() as tasks,
    ):

        async def work() -> None:
            async for delivery in subscription:
                try:
                    async with delivery, pool.acquire() as connection, connection.transaction():
                        effect = "insert into shipped values ($1, $2)"
                        await connection.execute(effect, delivery.body, name)
                        await delivery.ack(connection=connection)
                        if random.random() < 0.05:
                            raise Unlucky
                except (Unlucky, *LOST):
                    pass

        for _ in range(8):
            tasks.create_task(work())


def run(messages: int, *, kills: int, restarts: int) -> dict[str, object]:
    """Return what came of it."""
    with create("postgres") as broker:
        broker.start()
        began = time.monotonic()
        return asyncio.run(_play(broker, messages, kills, restarts)) | {
            "seconds": round(time.monotonic() - began, 1)
        }


async def _play(broker: Broker, messages: int, kills: int, restarts: int) -> dict[str, object]:
    await _asked(
        broker.url,
        "create table orders (number int primary key); create table shipped (number int, who text)",
    )
    children = [_child("publisher", broker.url, str(messages))]
    children += [_child("worker", broker.url, str(n)) for n in range(WORKERS)]
    faults: list[tuple[int, Callable[[], object]]] = []

    def replace() -> None:
        victim = random.randrange(1, len(children))
        children[victim].kill()
        children[victim].wait()
        children[victim] = _child("worker", broker.url, f"{victim}, again")

    faults += [(messages * (n + 1) // (kills + 1), replace) for n in range(kills)]
    faults += [(messages * (n + 1) // (restarts + 1) + 1, broker.kill) for n in range(restarts)]
    try:
        for at, fault in sorted(faults, key=lambda one: one[0]):
            await _until(broker.url, at)
            await asyncio.to_thread(fault)
            await asyncio.to_thread(broker.start)
        await _until(broker.url, messages)
        await asyncio.to_thread(children[0].wait, 60)
        await _until(broker.url, messages)
    finally:
        for child in children:
            child.kill()
            child.wait()
    connection = await asyncpg.connect(broker.url)
    count = connection.fetchval
    report = {
        "committed": await count("select count(*) from orders"),
        "shipped": await count("select count(distinct number) from shipped"),
        "twice": await count("select count(*) - count(distinct number) from shipped"),
        "invented": await count(
            "select count(*) from shipped where number not in (select number from orders)"
        ),
        "owed": await count("select count(*) from acked.message"),
        "kills": kills,
        "restarts": restarts,
    }
    await connection.close()
    return report


def held(report: dict[str, object], messages: int) -> bool:
    """Say whether it shows what it should."""
    none = report["twice"] == report["invented"] == report["owed"] == 0
    return none and report["committed"] == report["shipped"] == messages


def _child(role: str, url: str, word: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.crash.exactly_once", role, url, word])


async def _until(url: str, shipped: int) -> None:
    """Return when so many are shipped, or nothing more was for a while."""
    seen, moved = -1, time.monotonic()
    while seen < shipped and time.monotonic() - moved < PATIENCE:
        now = await _asked(url, "select count(*) from shipped")
        if now != seen:
            seen, moved = now, time.monotonic()
        await asyncio.sleep(0.05)


async def _asked(url: str, statement: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        if statement.startswith("select"):
            return await connection.fetchval(statement)
        await connection.execute(statement)
        return 0
    finally:
        await connection.close()


def main() -> int:
    """Play the part that is named, or the whole run."""
    if sys.argv[1:2] == ["publisher"]:
        asyncio.run(again_and_again(lambda: publisher(sys.argv[2], int(sys.argv[3]))))
        return 0
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(again_and_again(lambda: worker(sys.argv[2], sys.argv[3])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=2)
    given = parser.parse_args()
    report = run(given.messages, kills=given.kills, restarts=given.restarts)
    print(json.dumps(report))
    return 0 if held(report, given.messages) else 1


if __name__ == "__main__":
    sys.exit(main())
