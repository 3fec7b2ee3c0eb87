"""A queue file against the contract, within one process."""

from pathlib import Path

import pytest

from acked.clocks import VirtualClock
from acked.errors import LayerError, PublishFailed
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue import _turns as turns
from acked.layers.sqlite_queue._claim import CLAIM_BYTES
from acked.types import Record, Settlement, Start, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    acks,
    consuming,
    kept,
    make,
    oracle,
    receive,
    seen,
    settle,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_acked_is_never_delivered_again_and_leaves_the_file(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        batch = await receive(feed)
        assert await settle(feed, *acks(batch)) == [CONFIRMED, CONFIRMED]
        assert kept(path) == []
        clock.advance(LEASE + 1)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]


async def test_a_record_arrives_as_it_was_published(path: Path) -> None:
    body = bytes(range(256))
    headers = {"": "", "ü": '"\\\n\x00', "\U0001f40c": "x" * 1000}
    records = [
        Record("t\xfc", body, "id\x00\xe9", "key\x00", headers, "a/b", 1722222222.123456),
        Record("t\xfc", b"", "2"),
    ]
    async with SQLiteQueueLayer(path) as layer, consuming(layer, "t\xfc", "t") as feed:
        receipts = await layer.publish(records)
        batch = await receive(feed)
        assert [leased.record for leased in batch] == records
        assert [leased.position for leased in batch] == [r.position for r in receipts]
        assert [(r.id, r.topic) for r in receipts] == [(r.id, r.topic) for r in records]
        assert await layer.publish([]) == []


async def test_one_unstorable_record_spoils_no_neighbour(path: Path) -> None:
    bad = [Record("t", b"", "\ud800"), Record("t", b"", "x", headers={"k": "\udfff"})]
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        with pytest.raises(PublishFailed) as caught:
            await layer.publish([*make("a"), *bad, *make("b")])
        assert set(caught.value.failures) == {1, 2}
        batch = await receive(feed)
        assert seen(batch) == [("a", 1), ("b", 1)]
        buried = Settlement(batch[0].token, Verb.REJECT, dead_letter=bad[0])
        refused, acked = await settle(feed, buried, *acks(batch[1:]))
        assert isinstance(refused, LayerError)
        assert "UTF-8" in str(refused)
        assert isinstance(refused.__cause__, UnicodeEncodeError)
        assert acked is CONFIRMED
        assert kept(path) == ["a"]
        assert await settle(feed, *acks(batch[:1])) == [CONFIRMED]


async def test_each_group_is_owed_every_message_until_it_has_settled_it(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer, group="one") as one:
        async with consuming(layer, group="two") as two:
            await layer.publish(make("a", "b"))
            await settle(one, *acks(await receive(one)))
            assert kept(path) == ["a", "b"]
            batch = await receive(two)
            assert seen(batch) == [("a", 1), ("b", 1)]
            await settle(two, *acks(batch[:1]))
            assert kept(path) == ["b"]
            await settle(two, Settlement(batch[1].token, Verb.REJECT))
            assert kept(path) == []


async def test_a_new_group_begins_where_it_was_told(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        for moment, name in enumerate("abc"):
            await layer.publish(make(name, timestamp=moment))
        async with (
            consuming(layer, group="latest", start=Start.LATEST) as latest,
            consuming(layer, group="time", start=Start.at(1.0)) as since,
            consuming(layer, group="future", start=Start.at(99.0)) as future,
            consuming(layer, group="earliest") as earliest,
        ):
            await layer.publish(make("d"))
            assert seen(await receive(latest)) == [("d", 1)]
            assert seen(await receive(since)) == [("b", 1), ("c", 1), ("d", 1)]
            assert seen(await receive(future)) == [("d", 1)]
            assert seen(await receive(earliest)) == [(name, 1) for name in "abcd"]


async def test_groups_and_debts_survive_the_layer(path: Path) -> None:
    layer = SQLiteQueueLayer(path)
    async with layer, consuming(layer, start=Start.LATEST) as feed:
        await layer.publish(make("a", "b"))
        await settle(feed, *acks(await receive(feed, 1)))
    async with layer:
        await layer.publish(make("c"))
    async with SQLiteQueueLayer(path) as again, consuming(again, start=Start.LATEST) as feed:
        assert seen(await receive(feed)) == [("b", 1), ("c", 1)]


async def test_topics_do_not_mix_and_a_busy_one_starves_no_quiet_one(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer, "t", "t2", "t") as feed:
        await layer.publish(make(*(str(n) for n in range(100))))
        await layer.publish(make("quiet", topic="t2"))
        await layer.publish(make("foreign", topic="t22"))
        assert ("quiet", 1) in seen(await receive(feed, 2))
        await layer.publish(make("quiet again", topic="t2"))
        singles = seen(await receive(feed, 1)) + seen(await receive(feed, 1))
        assert ("quiet again", 1) in singles
        assert len(await receive(feed, 1000)) == 98


async def test_a_claim_stops_at_so_many_bytes_but_returns_one_message(path: Path) -> None:
    large = b"x" * (CLAIM_BYTES // 2)
    async with SQLiteQueueLayer(path, durability="normal") as layer, consuming(layer) as feed:
        await layer.publish([Record("t", large, str(number)) for number in range(3)])
        assert seen(await receive(feed)) == [("0", 1), ("1", 1)]
        (third,) = await receive(feed)
        assert third.record.body == large


BOUNDS = {
    "FIND_GROUP": "topic=? AND name=?",
    "DUE": "grp=? AND due>? AND due<?",
    "FREE": "grp=? AND seq=?",
    "DROP_DEBTS": "grp=? AND seq<?",
    "ALIVE": "grp=?",
    "RANK": "topic=? AND seq>?",
    "RETURNED": "grp=? AND due<?",
    "LEASE_RETURNED": "grp=? AND (due,seq)<(?,?)",
    "FRESH": "topic=? AND rowid>?",
    "SETTLE": "grp=? AND seq=?",
    "NACK": "grp=? AND seq=?",
    "RELEASE": "grp=? AND seq=?",
    "EXTEND": "grp=? AND seq=?",
    "FORGET": "rowid=?",
    "READY": "name=? AND due=?",
    "OVERDUE": "name=? AND due>? AND due<?",
    "NEXT_MOMENT": "name=? AND due>?",
    "BEHIND": "name=?",
    "LAST_TURN": "name=? AND due=?",
    "SERVED": "rowid=?",
    "PUT_OFF": "rowid=?",
}


"""What each statement of the hot path searches by first: all that it says about its rows."""


@pytest.mark.parametrize("name", BOUNDS)
def test_no_statement_walks_over_rows_that_it_does_not_want(name: str) -> None:
    found: str = getattr(sql, name, None) or getattr(turns, name)
    statement = found.format(which=turns.OF_NAME)
    words = ("grp", "topic", "cursor", "last", "room", "until", "lease", "page", "in_order", "now")
    named = dict.fromkeys(words, 1)
    with oracle(Path(":memory:")) as db:
        for definition in sql.SCHEMA:
            db.execute(definition)
        values = named if ":" in statement else (1,) * statement.count("?")
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan[0].startswith("SEARCH")
    assert plan[0].endswith(f"({BOUNDS[name]})")
    assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step]


async def test_what_was_extended_is_given_back_on_leaving_too(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a"))
        async with consuming(layer) as feed:
            (a,) = await receive(feed)
            assert await feed.extend([a.token], 100 * LEASE) == [CONFIRMED]
        async with consuming(layer) as feed:
            assert seen(await receive(feed)) == [("a", 2)]
