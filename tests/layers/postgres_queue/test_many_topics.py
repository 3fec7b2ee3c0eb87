"""Many topics in one subscription of the queue in PostgreSQL: a claim asks for those that have something."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import asyncpg
import pytest

from acked import Record, Start
from acked.abc import AckFeed
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.types import Leased, Settlement, Verb
from tests.layers.postgres_kit import connected

pytestmark = pytest.mark.anyio

LEASE: Final = 30.0
LARGE: Final = 1 << 40
SCANS: Final = """
    select idx_scan from pg_stat_xact_user_tables where schemaname = $1 and relname = 'message'"""
"""How often the transaction has begun to look into an index."""
FEW: Final = 32
"""Up to so many are simply all looked at."""


async def groups(admin: asyncpg.Connection, schema: str, count: int) -> list[int]:
    """Make a group of each of `count` topics, as they were if somebody had joined each."""
    rows = await admin.fetch(
        f"insert into {schema}.grp (topic, name, gets) "
        "select 't' || n, 'g', true from generate_series(0, $1 - 1) as n returning id",
        count,
    )
    return [row["id"] for row in rows]


def of_topics(*numbers: int) -> list[Record]:
    return [Record(f"t{number}", b"x", str(number)) for number in numbers]


async def claimed(
    session: asyncpg.Connection, schema: str, grps: Sequence[int], room: int, number: int = 7
) -> list[int]:
    """Return of which groups one claim leases messages."""
    rows = await session.fetch(
        f"select grp from {schema}.look($1, $2, $3, $4, $5, $6) where grp is not null",
        grps,
        room,
        LEASE,
        number,
        [],
        LARGE,
    )
    return [row["grp"] for row in rows]


async def test_a_claim_looks_up_what_it_brings_however_many_topics_it_is_of(module_broker) -> None:
    url, scans = module_broker("postgres").url, list[int]()
    for count in (100, 3_000):
        schema = f"many{count}"
        async with PostgresQueueLayer(url, schema=schema) as layer, connected(url) as connection:
            grps = await groups(connection, schema, count)
            await layer.publish(of_topics(*range(count - 10, count), *range(count - 10, count)))
            async with connection.transaction():
                found = await claimed(connection, schema, grps, 10)
                scans.append(await connection.fetchval(SCANS, schema))
            assert Counter(found) == dict.fromkeys(grps[-10:], 1)
    assert scans[0] == scans[1]
    assert scans[0] < 100


async def test_of_many_topics_each_has_its_turn_from_wherever_a_claim_begins(
    module_broker,
) -> None:
    url, schema = module_broker("postgres").url, "turns"
    async with PostgresQueueLayer(url, schema=schema) as layer, connected(url) as connection:
        grps = await groups(connection, schema, 2 * FEW)
        await layer.publish(of_topics(*range(2 * FEW), 39, 39))
        begun = [*grps[40:], *grps[:40]]
        assert sorted(await claimed(connection, schema, begun, 30)) == sorted(begun[:30])
        assert sorted(await claimed(connection, schema, begun, 1)) == begun[30:31]
        # Round and past the end of it: what was left, and more of who has it.
        rest = await claimed(connection, schema, begun, 100)
        assert Counter(rest) == Counter([*begun[31:], grps[39], grps[39]])
        assert await claimed(connection, schema, begun, 100) == []
        await layer.publish(of_topics(39))
        assert await claimed(connection, schema, begun, 1) == [grps[39]], "the last of a round"
        assert await claimed(connection, schema, grps[: FEW + 1], 1) == []
        await layer.publish(of_topics(50, 5))
        assert await claimed(connection, schema, grps[: FEW + 1], 9) == [grps[5]], "not others'"


async def drained(feed: AckFeed, count: int) -> list[Leased]:
    found: list[Leased] = []
    while len(found) < count:
        batch = await feed.receive(7)
        await feed.settle([Settlement(one.token, Verb.ACK) for one in batch])
        found += batch
    return found


@pytest.mark.parametrize("in_order", [False, True])
async def test_many_topics_are_drained_and_what_a_lease_ends_of_comes_first(
    module_broker, in_order: bool
) -> None:
    url, topics = module_broker("postgres").url, [f"t{number}" for number in range(FEW + 8)]
    async with PostgresQueueLayer(url, schema=f"drained{in_order:d}") as layer:
        consume = layer.consume_in_key_order if in_order else layer.consume
        options = {"in_flight": 100, "start": Start.EARLIEST}
        async with consume(topics, "g", lease=LEASE, **options) as feed:
            await layer.publish(of_topics(*range(FEW + 8)))
            async with consume(topics, "g", lease=0.2, **options) as holder:
                held = {one.record.topic for one in await holder.receive(3)}
                await layer.publish(of_topics(*range(FEW + 8)))
                found = await drained(feed, 2 * (FEW + 8))
            again = [one for one in found if one.attempt == 2]
            assert {one.record.topic for one in again} == held
            assert Counter(one.record.topic for one in found) == dict.fromkeys(topics, 2)
