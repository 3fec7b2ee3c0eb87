"""A queue file against the contract, within one process."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from acked import Channel, Redelivery
from acked.abc import AckFeed
from acked.clocks import SystemClock, VirtualClock
from acked.errors import LayerError, PublishFailed
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.types import Record, Settlement, Start, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    LOST,
    TIMEOUT,
    acks,
    consuming,
    kept,
    make,
    oracle,
    receive,
    seen,
    settle,
    until_it_waits,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@asynccontextmanager
async def waiting(
    layer: SQLiteQueueLayer, feed: AckFeed, expected: list[tuple[str, int]]
) -> AsyncGenerator[None, None]:
    """Run the block while `feed` waits; it must then receive what is expected."""

    async def waits() -> None:
        assert seen(await receive(feed)) == expected

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits)
        await until_it_waits(layer, feed)
        yield


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


async def test_expired_leases_come_first_in_their_order_and_count(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as dead:
        async with consuming(layer) as feed:
            await layer.publish(make("a", "b", "c", "d"))
            assert seen(await receive(dead, 2)) == [("a", 1), ("b", 1)]
            clock.advance(LEASE)
            assert seen(await receive(feed, 1)) == [("a", 2)]
            assert seen(await receive(feed)) == [("b", 2), ("c", 1), ("d", 1)]


@pytest.mark.parametrize("verb", Verb)
async def test_a_lease_that_is_over_is_its_holders_until_another_one_looks(
    path: Path, verb: Verb
) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        late, late_too = await receive(feed)
        clock.advance(2 * LEASE)
        assert await settle(feed, Settlement(late.token, verb)) == [CONFIRMED]
        assert await feed.extend([late_too.token], LEASE) == [CONFIRMED]


async def test_a_consumer_never_takes_from_itself_what_it_holds(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        late, late_too = await receive(feed)
        clock.advance(2 * LEASE)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        assert await feed.extend([late.token], LEASE) == [CONFIRMED]
        async with consuming(layer) as other:
            assert seen(await receive(other)) == [("b", 2)]
            assert await settle(feed, *acks([late, late_too])) == [CONFIRMED, LOST]


async def test_a_stalled_consumer_does_not_bury_what_nobody_saw(path: Path) -> None:
    """A handler blocks for longer than a lease: what waits behind it is not charged for that."""
    policy = Redelivery(max_deliveries=2, dead_letter="dead")
    async with Channel(SQLiteQueueLayer(path)) as channel:
        await channel.publish_many("t", range(20))
        async with channel.subscribe("t", group="g", lease=0.3, redelivery=policy) as sub:
            for number in range(20):
                with anyio.fail_after(TIMEOUT):
                    delivery = await anext(sub)
                assert (delivery.body, delivery.attempt) == (number, 1)
                if number in {0, 7}:
                    time.sleep(0.4)  # the handler blocks the loop
                await delivery.ack()
    assert kept(path) == []


async def test_the_feed_tells_when_it_leased_and_how_far_it_is_behind(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer, "t", "u") as feed:
        assert isinstance(feed, SQLiteQueueFeed)
        await layer.publish(make("a", "b", "c", timestamp=5.0))
        await layer.publish(make("d", topic="u"))
        clock.advance(5.0)
        before = SystemClock().time()
        held = await receive(feed, 3)
        assert feed.lag() == 1
        assert before <= feed.leased_at <= SystemClock().time()
        await layer.publish(make("e"))
        await feed.extend([held[0].token], LEASE)  # also while it receives nothing
        assert feed.lag() == 2
        await feed.release([held[0].token])
        rest = await receive(feed)
        assert (len(rest), feed.lag()) == (3, 0)
        async with consuming(layer, group="since", start=Start.at(2.0)) as since:
            assert isinstance(since, SQLiteQueueFeed)
            assert len(await receive(since, 2)) == 2
            assert since.lag() == 1
            await since.release([])
            assert len(await receive(since)) == 1
            assert since.lag() == 0


async def test_a_lag_counts_what_is_kept_and_not_what_was(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b", "c"))
        await settle(feed, *acks((await receive(feed))[1:]))
        await layer.publish(make("d"))
        for group, start, expected in (
            ("early", Start.EARLIEST, 1),
            ("late", Start.LATEST, 0),
        ):
            async with consuming(layer, group=group, start=start) as other:
                assert isinstance(other, SQLiteQueueFeed)
                if expected:
                    assert len(await receive(other, 1)) == 1
                await other.extend([], 1.0)
                assert other.lag() == expected


async def test_a_nack_comes_again_at_once_or_after_its_delay_and_not_before(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b", "c"))
        a, b, _c = await receive(feed)
        nacks = [Settlement(a.token, Verb.NACK), Settlement(b.token, Verb.NACK, 10.0)]
        assert await settle(feed, *nacks) == [CONFIRMED, CONFIRMED]
        assert await settle(feed, *nacks) == [LOST, LOST]
        assert seen(await receive(feed)) == [("a", 2)]
        clock.advance(9.9)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        clock.advance(0.1)
        assert seen(await receive(feed)) == [("b", 2)]


async def test_a_rejection_and_its_dead_letter_are_one_step(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        a, b = await receive(feed)
        (dead,) = make("dead", topic="t.dead")
        assert await settle(feed, Settlement(a.token, Verb.REJECT, dead_letter=dead)) == [CONFIRMED]
        assert kept(path) == ["b", "dead"]
        clock.advance(LEASE)
        async with consuming(layer) as other:
            assert seen(await receive(other)) == [("b", 2)]
            assert await settle(feed, Settlement(b.token, Verb.REJECT, dead_letter=dead)) == [LOST]
        assert kept(path) == ["b", "dead"]
        async with consuming(layer, "t.dead") as burials:
            assert seen(await receive(burials)) == [("dead", 1)]


async def test_a_stale_token_changes_nothing_for_the_present_holder(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as late:
        async with SQLiteQueueLayer(path, time=clock.time) as other, consuming(other) as holder:
            await layer.publish(make("a"))
            (stale,) = await receive(late)
            clock.advance(LEASE)
            (held,) = await receive(holder)
            for verb in Verb:
                assert await settle(late, Settlement(stale.token, verb)) == [LOST]
            assert await late.extend([stale.token, "no token"], 1000) == [LOST, LOST]
            await late.release([stale.token])
            assert await settle(late, Settlement("no token", Verb.ACK)) == [LOST]
            clock.advance(LEASE - 1)
            assert await settle(holder, *acks([held])) == [CONFIRMED]


async def test_an_extended_lease_lasts_and_charges_no_attempt(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a"))
        (a,) = await receive(feed)
        clock.advance(LEASE - 1)
        assert await feed.extend([a.token], LEASE) == [CONFIRMED]
        clock.advance(LEASE - 1)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        async with consuming(layer) as other:
            clock.advance(1)
            assert seen(await receive(other)) == [("a", 2)]
            assert await feed.extend([a.token], LEASE) == [LOST]


async def test_a_release_charges_no_attempt_and_leaving_gives_back_what_is_held(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a", "b", "c"))
        async with consuming(layer) as feed:
            a, _b, c = await receive(feed)
            await feed.release([a.token])
            await settle(feed, *acks([c]))
        async with consuming(layer) as feed:
            assert seen(await receive(feed)) == [("a", 1), ("b", 2)]


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
    large = b"x" * (16 * 1024 * 1024)
    async with SQLiteQueueLayer(path, durability="normal") as layer, consuming(layer) as feed:
        await layer.publish([Record("t", large, str(number)) for number in range(3)])
        assert seen(await receive(feed)) == [("0", 1), ("1", 1)]
        (third,) = await receive(feed)
        assert third.record.body == large


async def test_a_waiting_receive_sees_what_another_layer_published(path: Path) -> None:
    async with SQLiteQueueLayer(path, poll=0.01) as layer, SQLiteQueueLayer(path) as other:
        async with consuming(layer) as feed, waiting(layer, feed, [("a", 1)]):
            await other.publish(make("a"))


@pytest.mark.parametrize("event", ["publish", "nack", "release", "dead letter", "leave"])
async def test_a_waiting_receive_sees_at_once_what_its_own_layer_did(
    path: Path, event: str
) -> None:
    # Polled every hundred seconds: nothing but the event itself can be what woke it.
    async with SQLiteQueueLayer(path, poll=100.0) as layer:
        async with consuming(layer) as feed, AsyncExitStack() as leaving:
            holder = await leaving.enter_async_context(consuming(layer))
            await layer.publish(make("a"))
            (a,) = await receive(holder)
            id_and_attempt = {"release": ("a", 1), "publish": ("b", 1), "dead letter": ("b", 1)}
            async with waiting(layer, feed, [id_and_attempt.get(event, ("a", 2))]):
                if event == "publish":
                    await layer.publish(make("b"))
                elif event == "nack":
                    await settle(holder, Settlement(a.token, Verb.NACK))
                elif event == "release":
                    await holder.release([a.token])
                elif event == "dead letter":
                    (dead,) = make("b")
                    await settle(holder, Settlement(a.token, Verb.REJECT, dead_letter=dead))
                else:
                    await leaving.aclose()


@pytest.mark.parametrize("event", ["delay", "lease", "lease cut short"])
async def test_a_waiting_receive_sees_the_end_of_a_delay_or_a_lease(path: Path, event: str) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, poll=0.01, time=clock.time) as layer:
        async with consuming(layer) as holder, consuming(layer) as feed:
            await layer.publish(make("a"))
            (a,) = await receive(holder)
            if event == "delay":
                await settle(holder, Settlement(a.token, Verb.NACK, LEASE))
            async with waiting(layer, feed, [("a", 2)]):
                if event == "lease cut short":
                    assert await holder.extend([a.token], 1.0) == [CONFIRMED]
                clock.advance(1.0 if event == "lease cut short" else LEASE)


BOUNDS = {
    "FIND_GROUP": "topic=? AND name=?",
    "DUE": "grp=? AND due>? AND due<?",
    "FREE": "grp=? AND seq=?",
    "NEXT_DUE": "grp=? AND due>?",
    "DROP_DEBTS": "grp=? AND seq<?",
    "ALIVE": "grp=?",
    "RETURNED": "grp=? AND due=?",
    "LEASE_RETURNED": "grp=? AND due=? AND seq<?",
    "FRESH": "topic=? AND rowid>?",
    "LEASE_FRESH": "topic=? AND rowid>? AND rowid<?",
    "SETTLE": "grp=? AND seq=?",
    "NACK": "grp=? AND seq=?",
    "RELEASE": "grp=? AND seq=?",
    "EXTEND": "grp=? AND seq=?",
    "FORGET": "rowid=?",
}
"""What each statement of the hot path searches by first: all that it says about its rows."""


@pytest.mark.parametrize("name", BOUNDS)
def test_no_statement_walks_over_rows_that_it_does_not_want(name: str) -> None:
    statement: str = getattr(sql, name)
    named = dict.fromkeys(("grp", "topic", "cursor", "last", "room", "until", "lease", "page"), 1)
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
