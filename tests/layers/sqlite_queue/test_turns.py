"""The topics of one subscription of a queue file: what many of them cost, and that none is forgotten."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest

from acked import Record
from acked.abc import AckFeed
from acked.errors import LayerError
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _turns as turns
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.layers.sqlite_queue._removal import ALIVE_FOR
from acked.types import Leased, Settlement, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    acks,
    consuming,
    counting,
    make,
    receive,
    seen,
    settle,
    tokens,
)
from tests.layers.sqlite_queue.test_file import no_file_may_grow

pytestmark = pytest.mark.anyio

MANY: Final = [f"t{number}" for number in range(turns.FEW + 8)]
"""More than are asked for by number."""


class Clock:
    """A clock that a test sets."""

    now = 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def layer(path: Path, clock: Clock) -> AsyncGenerator[SQLiteQueueLayer]:
    async with SQLiteQueueLayer(path, durability="normal", time=lambda: clock.now) as layer:
        yield layer


async def look(feed: AckFeed, limit: int = 100) -> list[tuple[str, int]]:
    """Return what one look brings, be it nothing."""
    return seen(await looked(feed, limit))


async def looked(feed: AckFeed, limit: int = 100) -> list[Leased]:
    assert isinstance(feed, SQLiteQueueFeed)
    return [*(await feed._look(limit)).batch]


@pytest.mark.parametrize("count", [1, 3])
async def test_a_message_costs_the_same_however_many_topics_are_read(
    path: Path, count: int
) -> None:
    costs: list[int] = []
    for size in (10, 1000):
        async with SQLiteQueueLayer(path.with_name(f"{size}.db"), durability="normal") as layer:
            async with consuming(layer, *(f"t{number}" for number in range(size))) as feed:
                assert await look(feed) == []  # each is looked at once, and found empty
                async with counting(layer) as steps:
                    for number in range(10):
                        await layer.publish(make("a", topic=f"t{number % count}"))
                        await settle(feed, *acks(await receive(feed)))
                costs.append(steps[0])
    assert costs[1] < 1.2 * costs[0]


async def test_many_topics_with_a_message_each_cost_as_much_as_they_have(path: Path) -> None:
    costs: list[int] = []
    for size in (100, 2000):
        async with SQLiteQueueLayer(path.with_name(f"{size}.db"), durability="normal") as layer:
            async with consuming(layer, *(f"t{number}" for number in range(size))) as feed:
                await layer.publish([Record(f"t{number}", b"", "") for number in range(size)])
                async with counting(layer) as steps:
                    left = size
                    while left:
                        left -= len(batch := await receive(feed))
                        await settle(feed, *acks(batch))
                costs.append(steps[0] // size)
    assert costs[1] < 1.2 * costs[0]


@pytest.mark.parametrize("topics", [MANY[:2], MANY])
async def test_whatever_comes_free_brings_its_topic_forward(
    layer: SQLiteQueueLayer, path: Path, clock: Clock, topics: list[str]
) -> None:
    async with consuming(layer, *topics) as feed, consuming(layer, *topics) as holder:
        for word, verb in (("nack", Verb.NACK), ("later", Verb.NACK), ("dead letter", Verb.REJECT)):
            await layer.publish(make(word, topic="t0"))
            (one,) = await receive(holder)
            assert await look(feed) == []
            (dead,) = make("dead letter", topic="t1")
            later = LEASE if word == "later" else 0.0
            settlement = Settlement(one.token, verb, later, dead if verb is Verb.REJECT else None)
            assert await settle(holder, settlement) == [CONFIRMED]
            if later:
                assert await look(feed) == []
                clock.now += later
            attempt = 1 if verb is Verb.REJECT else 2
            (back,) = await looked(feed)
            assert seen([back]) == [(word, attempt)]
            await settle(feed, *acks([back]))
        await layer.publish(make("released", topic="t1"))
        await holder.release(tokens(await receive(holder)))
        assert await look(feed) == [("released", 1)]
        clock.now += LEASE
        assert await look(holder) == [("released", 2)]
        assert await look(feed) == []
        async with SQLiteQueueLayer(path, time=lambda: clock.now) as other:
            await other.publish([Record("t1", b"", "prior", priority=3)])
            await other.publish([Record("t0", b"", "delayed", delay=LEASE)])
        assert await look(feed) == [("prior", 1)]
        assert await look(feed) == []
        clock.now += LEASE
        assert sorted(await look(holder)) == [("delayed", 1), ("prior", 2)]


async def test_what_a_consumer_holds_itself_hides_from_nobody_else(
    layer: SQLiteQueueLayer, clock: Clock
) -> None:
    async with consuming(layer, *MANY) as feed, consuming(layer, *MANY) as other:
        await layer.publish(make("a", topic="t0"))
        assert await look(feed) == [("a", 1)]
        clock.now += LEASE
        for _ in range(2):
            assert await look(feed) == [], "nobody steals from itself"
        await layer.publish(make("b", topic="t1"))
        assert await look(feed) == [("b", 1)]
        assert await look(other) == [("a", 2)]


@pytest.mark.parametrize("topics", [MANY[:20], MANY])
async def test_no_topic_is_passed_by_for_ever(layer: SQLiteQueueLayer, topics: list[str]) -> None:
    """Some have a thousand, some one again and again, and two consumers take one at a time."""
    async with consuming(layer, *topics) as feed, consuming(layer, *topics[::-1]) as other:
        for topic in topics[:10]:
            await layer.publish(make(*map(str, range(100)), topic=topic))
        waits = dict.fromkeys(topics, 0)
        for _ in range(2 * len(topics)):
            for topic in topics[10:]:
                await layer.publish(make("again", topic=topic))
            for one in (feed, other):
                (leased,) = await receive(one, 1)
                await settle(one, *acks([leased]))
                waits = {topic: waits[topic] + 1 for topic in topics}
                waits[leased.record.topic] = 0
            assert max(waits.values()) <= 2 * len(topics)


async def test_consumers_of_one_group_get_nothing_of_one_another_s_topics(
    layer: SQLiteQueueLayer,
) -> None:
    async with consuming(layer, *MANY) as feed, consuming(layer, *(f"u{n}" for n in MANY)) as other:
        await layer.publish(make("t", topic="t3"))
        await layer.publish(make("u", topic="ut3"))
        assert await look(other) == [("u", 1)]
        assert await look(feed) == [("t", 1)]
        for one in (feed, other):
            assert one.lag() == 0  # type: ignore[attr-defined]


async def test_the_lag_of_many_topics_is_counted_now_and_then(
    layer: SQLiteQueueLayer, clock: Clock
) -> None:
    async with consuming(layer, *MANY) as feed:
        assert isinstance(feed, SQLiteQueueFeed)
        await layer.publish(make("a", "b", topic="t0") + make("c", topic="t1"))
        assert len(await looked(feed, 1)) == 1
        assert feed.lag() == 2
        await layer.publish(make("d", topic="t2"))
        assert len(await looked(feed, 1)) == 1
        assert feed.lag() == 1
        clock.now += 1
        assert len(await looked(feed, 1)) == 1
        assert feed.lag() == 1
        assert len(await looked(feed)) == 1
        assert feed.lag() == 0


async def test_a_group_that_is_gone_after_a_long_silence_is_joined_anew(
    layer: SQLiteQueueLayer, path: Path, clock: Clock
) -> None:
    async with consuming(layer, *MANY) as feed:
        assert await look(feed) == []
        clock.now += ALIVE_FOR + 1
        async with SQLiteQueueLayer(path, time=lambda: clock.now) as other:
            await other.remove_group(MANY, "g")
            await other.publish(make("a", topic="t1"))
        with no_file_may_grow(layer), pytest.raises(LayerError, match="could not be"):
            await receive(feed)  # what it says of itself is undone
        assert seen(await receive(feed)) == [("a", 1)]
