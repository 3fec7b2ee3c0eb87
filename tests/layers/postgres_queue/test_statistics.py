"""What the verbs of the queue in PostgreSQL cost, whatever the statistics say: rows and blocks, counted.

Autovacuum makes statistics whenever it comes by, also of a queue that is empty at the moment. From
then on the planner takes every way for equally short, and one of them walks over all for each. What
is counted here is by the plans that the server has run, which no neighbour's load can reach: ten
times as many messages may cost twenty times as much, for what is dead and not cleared away yet is
stepped over, and not a hundred times.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import asyncpg
import pytest

from acked import Record, Start
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.layers.postgres_queue._browsing import KEPT
from acked.layers.postgres_queue._functions import QueueFunctions
from acked.layers.postgres_queue._records import PostgresLease
from acked.layers.postgres_queue._settlements import arrays_of, settle_plan
from acked.types import Settlement, Verb
from tests.layers.postgres_kit import connected

pytestmark = pytest.mark.anyio

Statistics: TypeAlias = Literal["none", "empty", "full"]

LEASE: Final = 30.0
NUMBER: Final = 7
LARGE: Final = 1 << 40
MOST: Final = 20
"""How many times as much ten times as many may cost."""
TOPIC: Final = "t"
REMOVED: Final = ("Filter", "Join Filter", "Index Recheck")
EXPLAINED: Final = {
    "log_level": "notice",
    "log_min_duration": "0",
    "log_nested_statements": "on",
    "log_analyze": "on",
    "log_timing": "off",
    "log_buffers": "on",
    "log_format": "json",
}


class CountedSession:
    """A session whose statements are counted: rows that they walk over, and blocks."""

    def __init__(self, connection: asyncpg.Connection, schema: str) -> None:
        self.connection = connection
        self.functions = QueueFunctions(schema)
        self.cost = 0
        self.compiled: list[str] = []

    async def begin(self) -> None:
        await self.connection.execute("load 'auto_explain'")
        for name, value in EXPLAINED.items():
            await self.connection.execute(f"set auto_explain.{name} = '{value}'")
        self.connection.add_log_listener(self._told)

    async def rows(self, statement: str, *arguments: object) -> Sequence[Mapping[str, Any]]:
        self.cost = 0
        found = await self.connection.fetch(statement, *arguments)
        await asyncio.sleep(0)  # the listener is called by the loop
        assert self.cost, "nothing was explained"
        assert not self.compiled, "a plan of what is switched off"
        return found

    async def claim(self, grp: int, count: int, *, in_order: bool = False) -> list[PostgresLease]:
        look = self.functions.look_in_order if in_order else self.functions.look
        found = await self.rows(look, [grp], count, LEASE, NUMBER, [], LARGE)
        messages = [row for row in found if row["grp"] is not None]
        return [PostgresLease(row["grp"], row["seq"], NUMBER) for row in messages]

    async def settle(self, leases: Sequence[PostgresLease], verb: Verb, **options: Any) -> None:
        plan = settle_plan([Settlement(one, verb, **options) for one in leases])
        (row,) = await self.rows(self.functions.settle.numbered(), *plan.arguments)
        assert len(row[0]) == len(leases)

    def _told(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        head, _, plan = message.message.partition("plan:\n")
        if head.startswith("duration"):
            explained = json.loads(plan)
            self.cost += cost_of(explained["Plan"])
            if "JIT" in explained:
                self.compiled.append(explained["Query Text"])


def cost_of(plan: Mapping[str, Any]) -> int:
    """Return the rows that `plan` walked over, and the blocks that it looked at."""
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return int(rows_of(plan) + blocks)


def rows_of(plan: Mapping[str, Any]) -> float:
    removed = sum(plan.get(f"Rows Removed by {why}", 0) for why in REMOVED)
    below = sum(map(rows_of, plan.get("Plans", ())))
    return (plan["Actual Rows"] + removed) * plan["Actual Loops"] + below


def make(count: int, keys: int | None = None) -> list[Record]:
    return [Record(TOPIC, b"x", str(n), keys and f"k{n % keys}") for n in range(count)]


async def filled(
    url: str, layer: PostgresQueueLayer, schema: str, records: list[Record], made: Statistics
) -> int:
    """Publish `records` to a group with the statistics that are asked for; return its number."""
    consumed = layer.consume([TOPIC], "g", in_flight=1, lease=LEASE, start=Start.EARLIEST)
    async with consumed as feed, connected(url) as admin:
        if made == "empty":
            await layer.publish(records)
            batch = await feed.receive(len(records))
            await feed.settle([Settlement(one.token, Verb.ACK) for one in batch])
            assert not await admin.fetchval(f"select count(*) from {schema}.message")
            await admin.execute(f"analyze {schema}.message")
        await layer.publish(records)
        if made == "full":
            await admin.execute(f"analyze {schema}.message")
        return await admin.fetchval(f"select id from {schema}.grp where name = 'g'")


async def costs(url: str, made: Statistics, count: int) -> dict[str, int]:
    """Return what each verb costs for `count` messages."""
    schema, found = f"{made}{count}", dict[str, int]()
    async with PostgresQueueLayer(url, schema=schema) as layer, connected(url) as connection:
        grp = await filled(url, layer, schema, make(count), made)
        session = CountedSession(connection, schema)
        await session.begin()
        functions = session.functions

        async def claim(word: str) -> list[PostgresLease]:
            leases = await session.claim(grp, count)
            assert len(leases) == count
            found[word] = session.cost
            return leases

        leases = await claim("claim")
        await session.rows(functions.extend, *arrays_of(leases), LEASE)
        found["extend"] = session.cost
        some = [*leases[: count // 2], *(one._replace(lease=8) for one in leases[count // 2 :])]
        (row,) = await session.rows(functions.extend, *arrays_of(some), LEASE)
        assert len(row[0]) == count // 2
        found["extend, half of them lost"] = session.cost
        await session.rows(functions.release, *arrays_of(leases))
        found["release"] = session.cost
        await session.settle(await claim("claim again"), Verb.NACK)
        found["nack"] = session.cost
        delays = [float(-(n % 7)) for n in range(count)]
        leases = await claim("claim what was nacked")
        await session.rows(functions.nack_unless_committed, *arrays_of(leases), delays)
        found["nack unless committed"] = session.cost
        leases = await claim("claim once more")
        letter = Record("dead", b"x", "letter")
        await session.settle(leases[: count // 2], Verb.REJECT, dead_letter=letter)
        found["reject"] = session.cost
        await session.settle(leases[count // 2 :], Verb.ACK)
        found["ack"] = session.cost
        await layer.publish(make(count))
        kept = KEPT.replace("@schema", schema)
        shown = await session.rows(kept, TOPIC, 0, LARGE, count, LARGE)
        found["browse"] = session.cost
        (row,) = await session.rows(functions.remove, TOPIC, [one["seq"] for one in shown])
        assert (len(shown), row[0]) == (count, [])
        found["remove"] = session.cost
    return found


async def costs_in_order(url: str, made: Statistics, count: int) -> dict[str, int]:
    """Do so in the order of keys, of which each has two."""
    schema, found = f"in_order_{made}{count}", dict[str, int]()
    async with PostgresQueueLayer(url, schema=schema) as layer, connected(url) as connection:
        grp = await filled(url, layer, schema, make(count, count // 2), made)
        session = CountedSession(connection, schema)
        await connection.execute(session.functions.keep_lanes.replace("$1", str(grp)))
        await session.begin()
        for word in ("first", "second"):
            leases = await session.claim(grp, count, in_order=True)
            found[f"claim the {word}"] = session.cost
            assert len(leases) == count // 2
            await session.settle(leases, Verb.ACK)
            found[f"ack the {word}"] = session.cost
    return found


def assert_in_proportion(few: Mapping[str, int], many: Mapping[str, int]) -> None:
    steep = {word: (few[word], many[word]) for word in few if many[word] > MOST * few[word]}
    assert not steep, "(few, ten times as many)"


@pytest.mark.parametrize("made", ["none", "empty", "full"])
async def test_ten_times_as_many_cost_ten_times_as_much(module_broker, made: Statistics) -> None:
    url = module_broker("postgres").url
    assert_in_proportion(await costs(url, made, 200), await costs(url, made, 2_000))


@pytest.mark.parametrize("made", ["none", "empty", "full"])
async def test_so_they_do_in_the_order_of_keys(module_broker, made: Statistics) -> None:
    url = module_broker("postgres").url
    few, many = [await costs_in_order(url, made, count) for count in (100, 1_000)]
    assert_in_proportion(few, many)


async def test_what_is_not_free_is_not_walked_over_whatever_the_statistics_say(
    module_broker,
) -> None:
    """The primary key has the order of the free ones, too, and all that is delayed among them."""
    url, delayed = module_broker("postgres").url, 5_000
    async with PostgresQueueLayer(url, schema="walks") as layer, connected(url) as connection:
        grp = await filled(url, layer, "walks", make(delayed), "empty")
        session = CountedSession(connection, "walks")
        await session.begin()
        await session.settle(await session.claim(grp, delayed), Verb.NACK, delay=3600.0)
        await layer.publish(make(1))
        assert len(await session.claim(grp, 10)) == 1
        assert session.cost < delayed / 2


async def test_what_is_called_for_each_message_is_not_planned_for_each(module_broker) -> None:
    """For arrays of one element the planner prefers to: it was most of what a lone message cost."""
    url = module_broker("postgres").url
    async with PostgresQueueLayer(url, schema="plans"), connected(url) as connection:
        kept = await connection.fetch(
            """select proname from pg_proc where pronamespace = 'plans'::regnamespace
            and 'plan_cache_mode=force_generic_plan' = any (proconfig)"""
        )
    verbs = {"publish", "look", "look_in_order", "outlook", "settle", "extend", "release"}
    assert {row["proname"] for row in kept} >= verbs
