"""The order of keys in a queue file: what it costs those who are not held, and what files were."""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from acked import Record, Start
from acked.abc import AckFeed
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _sql as sql
from acked.types import Leased, Settlement, Verb
from tests.layers.sqlite_kit import LEASE, acks, consuming, counting, oracle, receive, settle

pytestmark = pytest.mark.anyio

SUCCESSORS: Final = 10_000


def in_order(layer: SQLiteQueueLayer, group: str = "g") -> AbstractAsyncContextManager[AckFeed]:
    return layer.consume_in_key_order(
        ["t"], group, in_flight=100, lease=LEASE, start=Start.EARLIEST
    )


def of_key(key: str | None, count: int, *, start: int = 0) -> list[Record]:
    return [Record("t", b"", f"{key}{n}", key) for n in range(start, start + count)]


def ids(batch: Sequence[Leased]) -> list[str]:
    return [leased.record.id for leased in batch]


@pytest.fixture
async def layer(path: Path) -> AsyncGenerator[SQLiteQueueLayer]:
    async with SQLiteQueueLayer(path) as layer:
        yield layer


async def good_ones(layer: SQLiteQueueLayer, feed: AckFeed, *, start: int) -> int:
    """Handle fifty messages of other keys, one by one, and return what that cost."""
    await layer.publish([Record("t", b"", f"g{n}", f"g{n % 5}") for n in range(start, start + 50)])
    async with counting(layer) as steps:
        for _ in range(50):
            batch = await receive(feed, 1)
            assert batch[0].record.key != "poison"
            await settle(feed, *acks(batch))
    return steps[0]


async def test_ten_thousand_successors_of_a_poison_key_cost_nobody_else(
    layer: SQLiteQueueLayer,
) -> None:
    async with in_order(layer) as feed:
        alone = await good_ones(layer, feed, start=0)
        await layer.publish(of_key("poison", 1))
        (poison,) = await receive(feed)
        await settle(feed, Settlement(poison.token, Verb.NACK, delay=LEASE))
        await layer.publish(of_key("poison", SUCCESSORS, start=1))
        await layer.publish([Record("t", b"", "first", "g0")])
        async with counting(layer) as parking:
            batch = await receive(feed)
        assert ids(batch) == ["first"]
        await settle(feed, *acks(batch))
        assert parking[0] < 100 * SUCCESSORS / 10, "each is walked over once"
        assert await good_ones(layer, feed, start=100) < 1.2 * alone


async def test_to_settle_one_of_a_key_costs_the_same_however_many_wait(
    layer: SQLiteQueueLayer,
) -> None:
    costs: list[int] = []
    async with in_order(layer) as feed:
        for key, count in (("few", 20), ("many", SUCCESSORS)):
            await layer.publish(of_key(key, count))
            batch = await receive(feed, 1)
            await layer.publish([Record("t", b"", f"after-{key}", None)])
            await settle(feed, *acks(await receive(feed)))  # all of the key are parked now
            async with counting(layer) as steps:
                for number in range(10):
                    assert ids(batch) == [f"{key}{number}"]
                    await settle(feed, *acks(batch))
                    batch = await receive(feed, 1)
            costs.append(steps[0])
            await settle(feed, Settlement(batch[0].token, Verb.NACK, delay=LEASE))
    assert costs[1] < 1.2 * costs[0]


async def test_a_group_that_asks_later_is_in_order_from_then_on(layer: SQLiteQueueLayer) -> None:
    await layer.publish([*of_key("a", 4), *of_key("b", 1)])
    async with consuming(layer) as anyhow:
        first = await receive(anyhow, 2)
        assert ids(first) == ["a0", "a1"]
        async with in_order(layer) as feed:
            assert ids(await receive(feed)) == ["b0"], "both are out, whoever holds them"
            await settle(anyhow, *acks(first[1:]))
            await settle(anyhow, *acks(first[:1]))
            assert ids(await receive(feed)) == ["a2"]


async def test_a_group_from_a_time_on_is_in_order(layer: SQLiteQueueLayer) -> None:
    async with consuming(layer, group="keeper"):
        await layer.publish([*of_key("a", 3), *of_key(None, 2)])
    start = Start.at(0)
    async with layer.consume_in_key_order(
        ["t"], "late", in_flight=9, lease=LEASE, start=start
    ) as feed:
        batch = await receive(feed)
        assert ids(batch) == ["a0", "None0", "None1"]
        assert feed.lag() == 2  # type: ignore[attr-defined]
        await settle(feed, *acks(batch))
        assert ids(await receive(feed)) == ["a1"]


async def test_what_is_parked_is_owed_behind_and_never_leased(
    layer: SQLiteQueueLayer, path: Path
) -> None:
    await layer.publish([*of_key("a", 3), *of_key("b", 1)])
    async with in_order(layer) as feed:
        batch = await receive(feed)
        assert ids(batch) == ["a0", "b0"]
        assert feed.lag() == 2  # type: ignore[attr-defined]
        with oracle(path) as db:
            rows = db.execute("SELECT seq, due, attempt FROM debt WHERE key = 'a'").fetchall()
            assert [(seq, due == math.inf, attempt) for seq, due, attempt in rows] == [
                (1, False, 1),
                (2, True, 0),
                (3, True, 0),
            ]


async def test_a_file_of_version_3_is_made_ours(path: Path) -> None:
    with oracle(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in sql.SCHEMA:
            indexes = (sql._DELAYED_SINCE_4, sql._RANKED_SINCE_5)
            later = (*sql._KEY_ORDER_SINCE_4, *sql._TURNS_SINCE_6, *indexes)
            if statement not in later:
                db.execute(
                    statement.replace("        in_order INTEGER NOT NULL DEFAULT 0,\n", "")
                    .replace("        ranked INTEGER NOT NULL DEFAULT 0,\n", "")
                    .replace("        turn INTEGER NOT NULL DEFAULT 0,\n", "")
                    .replace("        rank INTEGER NOT NULL DEFAULT 0,\n", "")
                    .replace("        key TEXT,\n        PRIMARY", "        PRIMARY")
                    .replace(",\n        due REAL NOT NULL DEFAULT 0", "")
                    .replace(",\n        expires REAL NOT NULL DEFAULT 0", "")
                    .replace(",\n        priority INTEGER NOT NULL DEFAULT 0", "")
                )
        db.execute("PRAGMA user_version = 3")
        for name in ("a0", "a1", "a2"):
            db.execute(
                "INSERT INTO message (topic, id, key, headers, content_type, timestamp, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                ("t", name, "a", None, "x/y", 1.0, b""),
            )
        db.execute("INSERT INTO grp (topic, name, cursor) VALUES ('t', 'g', 2)")
        db.execute("INSERT INTO debt VALUES (1, 1, 0, 0, 1, 0, 0), (1, 2, 0, 0, 1, 0, 0)")
    async with SQLiteQueueLayer(path) as layer, in_order(layer) as feed:
        for name in ("a0", "a1", "a2"):
            batch = await receive(feed)
            assert ids(batch) == [name]
            await settle(feed, *acks(batch))
