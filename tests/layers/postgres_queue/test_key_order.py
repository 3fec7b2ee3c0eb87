"""The order of keys in PostgreSQL: transactions that are open, many consumers, ten thousand waiting."""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

import anyio
import asyncpg
import pytest

from acked import Record, Start
from acked.abc import AckFeed
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.types import Leased, Outcome, Settlement, Verb
from tests.layers.postgres_kit import connected, fresh

pytestmark = pytest.mark.anyio

LEASE: Final = 30.0
SUCCESSORS: Final = 10_000


def in_order(layer: PostgresQueueLayer, topic: str) -> AbstractAsyncContextManager[AckFeed]:
    return layer.consume_in_key_order(
        [topic], "g", in_flight=100, lease=LEASE, start=Start.EARLIEST
    )


def of_key(topic: str, key: str, count: int, *, start: int = 0) -> list[Record]:
    return [Record(topic, b"", f"{key}{n}", key) for n in range(start, start + count)]


def ids(batch: Sequence[Leased]) -> list[str]:
    return [leased.record.id for leased in batch]


async def receive(feed: AckFeed, limit: int = 100) -> Sequence[Leased]:
    with anyio.fail_after(20):
        return await feed.receive(limit)


async def ack(feed: AckFeed, batch: Sequence[Leased]) -> None:
    replies = await feed.settle([Settlement(leased.token, Verb.ACK) for leased in batch])
    assert [*replies] == [Outcome.CONFIRMED] * len(batch)


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_an_ack_in_a_transaction_frees_what_was_published_and_claimed_meanwhile(
    postgres_broker, isolation: Literal["read_committed", "repeatable_read"]
) -> None:
    url, topic = postgres_broker.url, fresh()
    async with PostgresQueueLayer(url) as layer, connected(url) as mine:
        async with in_order(layer, topic) as feed, in_order(layer, topic) as other:
            await layer.publish(of_key(topic, "a", 2))
            held = await receive(feed)
            transaction = mine.transaction(isolation=isolation)
            await transaction.start()
            settled = Settlement(held[0].token, Verb.ACK)
            assert await feed.settle_in(mine, [settled]) == [Outcome.CONFIRMED]  # type: ignore[attr-defined]
            await layer.publish([*of_key(topic, "a", 1, start=2), *of_key(topic, "b", 1)])
            assert ids(await receive(other)) == ["b0"], "the ack is not committed"
            await transaction.commit()
            for name in ("a1", "a2"):
                batch = await receive(other)
                assert ids(batch) == [name]
                await ack(other, batch)


async def test_a_snapshot_that_knows_nothing_of_who_waits_cannot_ack(postgres_broker) -> None:
    """It would free nothing, and what is parked behind it would be parked for ever."""
    url, topic = postgres_broker.url, fresh()
    async with PostgresQueueLayer(url) as layer, connected(url) as mine:
        async with in_order(layer, topic) as feed, in_order(layer, topic) as other:
            await layer.publish(of_key(topic, "a", 1))
            held = await receive(feed)
            transaction = mine.transaction(isolation="repeatable_read")
            await transaction.start()
            await mine.fetchval("SELECT count(*) FROM acked.grp")  # from here on its snapshot
            await layer.publish([*of_key(topic, "a", 1, start=1), *of_key(topic, "b", 1)])
            assert ids(await receive(other)) == ["b0"]
            with pytest.raises(Exception, match="serialize") as refused:
                await feed.settle_in(mine, [Settlement(held[0].token, Verb.ACK)])  # type: ignore[attr-defined]
            assert isinstance(refused.value.__cause__, asyncpg.SerializationError)
            await transaction.rollback()
            await ack(feed, held)
            assert ids(await receive(other)) == ["a1"]


async def test_five_consumers_of_three_keys_lose_no_place(postgres_broker) -> None:
    url, topic, each, keys = postgres_broker.url, fresh(), 60, "abc"
    seen: defaultdict[str | None, list[str]] = defaultdict(list)
    out: set[str | None] = set()
    over = anyio.Event()

    async def work(layer: PostgresQueueLayer) -> None:
        async with in_order(layer, topic) as feed:
            while True:
                batch = await feed.receive(5)
                for one in batch:
                    assert one.record.key not in out, "two of a key are out"
                    out.add(one.record.key)
                    seen[one.record.key].append(one.record.id)
                for one in batch:
                    out.discard(one.record.key)
                    await ack(feed, [one])
                if sum(map(len, seen.values())) == each * len(keys):
                    over.set()

    async with PostgresQueueLayer(url) as one, PostgresQueueLayer(url) as other:
        async with anyio.create_task_group() as tasks:
            for layer in (one, other, one, other, one):
                tasks.start_soon(work, layer)
            for number in range(each):
                await one.publish([Record(topic, b"", f"{k}{number}", k) for k in keys])
            with anyio.fail_after(60):
                await over.wait()
            tasks.cancel_scope.cancel()
    assert seen == {key: [f"{key}{n}" for n in range(each)] for key in keys}


async def test_ten_thousand_successors_of_a_poison_key_cost_nobody_else(postgres_broker) -> None:
    url, topic = postgres_broker.url, fresh()

    async def good_ones(start: int) -> float:
        numbers = range(start, start + 40)
        await layer.publish([Record(topic, b"", f"g{n}", f"g{n % 5}") for n in numbers])
        began = time.monotonic()
        for _ in numbers:
            batch = await receive(feed, 1)
            assert batch[0].record.key != "poison"
            await ack(feed, batch)
        return time.monotonic() - began

    async with PostgresQueueLayer(url) as layer, in_order(layer, topic) as feed:
        alone = await good_ones(0)
        await layer.publish(of_key(topic, "poison", 1))
        (poison,) = await receive(feed)
        await feed.settle([Settlement(poison.token, Verb.NACK, delay=600.0)])
        await layer.publish(of_key(topic, "poison", SUCCESSORS, start=1))
        await layer.publish([Record(topic, b"", "first", "g0")])
        batch = await receive(feed)
        assert ids(batch) == ["first"]
        await ack(feed, batch)
        # A walk over them at each claim would be a hundred times as much, and not ten.
        assert await good_ones(100) < 10 * alone + 1.0


async def test_long_keys_and_such_with_a_nul_are_keys_like_others(postgres_broker) -> None:
    topic, long = fresh(), "k" * 4096
    async with PostgresQueueLayer(postgres_broker.url) as layer, in_order(layer, topic) as feed:
        for key in (long, "a\0b", "a"):
            await layer.publish([Record(topic, b"", f"{key[:3]}{n}", key) for n in range(2)])
        batch = await receive(feed)
        assert len(batch) == 3
        await ack(feed, batch)
        assert len(await receive(feed)) == 3


async def test_what_committed_late_frees_what_was_parked_behind_a_later_one(
    postgres_broker,
) -> None:
    """It is the first of its key and was never parked: so nobody had noted that others wait."""
    url, topic = postgres_broker.url, fresh()
    async with (
        PostgresQueueLayer(url) as layer,
        connected(url) as mine,
        in_order(layer, topic) as feed,
    ):
        transaction = mine.transaction()
        await transaction.start()
        await layer.publish_in(mine, of_key(topic, "a", 1))
        await layer.publish(of_key(topic, "a", 2, start=1))
        held = await receive(feed)
        assert ids(held) == ["a1"]
        await transaction.commit()
        await ack(feed, held)
        for name in ("a0", "a2"):
            batch = await receive(feed)
            assert ids(batch) == [name]
            await ack(feed, batch)


async def test_many_delays_of_one_key_that_end_at_once_keep_no_other_key_waiting(
    postgres_broker,
) -> None:
    topic, many = fresh(), 50
    async with PostgresQueueLayer(postgres_broker.url) as layer, in_order(layer, topic) as feed:
        delayed = [Record(topic, b"", f"a{n}", "a", delay=0.2) for n in range(many)]
        await layer.publish([*delayed, Record(topic, b"", "b0", "b", delay=0.3)])
        (first,) = await receive(feed, 1)
        assert first.record.id == "a0"
        (other,) = await receive(feed, 1)
        assert other.record.id == "b0"
        await ack(feed, [first, other])
        for number in range(1, many):
            batch = await receive(feed)
            assert ids(batch) == [f"a{number}"]
            await ack(feed, batch)
