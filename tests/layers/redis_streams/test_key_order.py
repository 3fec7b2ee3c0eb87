"""The order of keys in streams: what is trimmed, a full server, a cluster, who knows of no order."""

import time
from collections import defaultdict
from contextlib import AbstractAsyncContextManager

import anyio
import pytest
import redis

from acked import Record, Start
from acked.abc import AckFeed
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._scripts import FREE, PARKED
from acked.types import Leased, Outcome
from tests.layers.redis_cluster_kit import names
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LONG,
    SOON,
    Oracle,
    acks,
    bodies,
    consuming,
    fresh,
    let_leases_end,
    nacks,
    pending,
    receive,
)

pytestmark = pytest.mark.anyio

SUCCESSORS = 3_000


def in_order(
    layer: RedisStreamsLayer, *topics: str, lease: float = LONG
) -> AbstractAsyncContextManager[AckFeed]:
    return layer.consume_in_key_order(
        topics, GROUP, in_flight=100, lease=lease, start=Start.EARLIEST
    )


def of_keys(topic: str, words: str) -> list[Record]:
    """Return a message for each of `words`; its first character is its key, and `-` is none."""
    return [
        Record(topic, word.encode(), f"id-{word}", None if word[0] == "-" else word[0])
        for word in words.split()
    ]


async def came(feed: AckFeed, words: str) -> list[Leased]:
    wanted = words.split()
    got = await receive(feed, len(wanted))
    assert sorted(bodies(got)) == sorted(wanted)
    return got


async def ack(feed: AckFeed, held: list[Leased]) -> None:
    assert await feed.settle(acks(held)) == [CONFIRMED] * len(held)


async def test_what_waits_is_nobodys_and_was_never_delivered(layer, oracle: Oracle, topic) -> None:
    async with in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1 -2"))
        held = await came(feed, "a0 -2")
        assert sorted(owner == PARKED for owner, _ in pending(oracle, topic).values()) == [
            False,
            False,
            True,
        ]
        await ack(feed, held)
        assert pending(oracle, topic).popitem()[1] == (FREE, 0)
        (last,) = await came(feed, "a1")
        assert last.attempt == 1
        await ack(feed, [last])
        place = group_keys(topic, GROUP)
        assert oracle.zcard(place.lanes) == 0
        assert oracle.hlen(place.lane_of) == 1, "up to where the stream was looked through"


async def test_what_was_trimmed_holds_nothing(layer, oracle: Oracle, topic) -> None:
    """The one that is out, and more of those that wait than one script passes by."""
    async with in_order(layer, topic) as feed:
        await layer.publish([Record(topic, b"%d" % n, "id", "a") for n in range(2 * SUCCESSORS)])
        held = await came(feed, "0")
        await layer.publish(of_keys(topic, "b"))
        await came(feed, "b")
        oracle.xtrim(topic, maxlen=2, approximate=False)
        await ack(feed, held)
        (last,) = await came(feed, str(2 * SUCCESSORS - 1))
        assert feed.trimmed == 2 * SUCCESSORS - 2
        await ack(feed, [last])
    assert oracle.zcard(group_keys(topic, GROUP).lanes) == 1, "that of b, which is given back"


async def test_a_full_server_is_drained_in_order(private_redis, topic) -> None:
    """Also of what a consumer read that was killed before anything of it entered a lane."""
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, in_order(layer, topic) as feed:
            await layer.publish(of_keys(topic, "a0 a1 a2 b3"))
            held = await came(feed, "a0 b3")
            await layer.publish(of_keys(topic, "a4 c5 c6 -7"))
            oracle.xreadgroup(GROUP, "killed~k~100", {topic: ">"}, count=3)
            await anyio.sleep(0.1)  # its lease
            oracle.config_set("maxmemory", 1)
            await ack(feed, held)
        async with RedisStreamsLayer(broker.url) as layer, in_order(layer, topic, lease=1) as feed:
            for words in ("a1 c5 -7", "a2 c6", "a4"):
                await ack(feed, await came(feed, words))
        assert pending(oracle, topic) == {}
        oracle.config_set("maxmemory", 0)


async def test_who_heeds_no_order_holds_back_those_who_do(layer, oracle: Oracle, topic) -> None:
    async with consuming(layer, topic) as free, in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1 a2"))
        held = await receive(free, 2)
        assert bodies(held) == ["a0", "a1"]
        await layer.publish(of_keys(topic, "b3"))
        await ack(feed, await came(feed, "b3"))
        assert await free.settle(nacks(held[1:])) == [CONFIRMED]
        await layer.publish(of_keys(topic, "b4"))
        await ack(feed, await came(feed, "b4"))  # and not a1, which is free
        await ack(free, held[:1])
        for word in ("a1", "a2"):
            await ack(feed, await came(feed, word))
    assert pending(oracle, topic) == {}


async def test_what_was_settled_by_hand_holds_its_key_until_the_next(layer, oracle, topic) -> None:
    async with in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1"))
        (held,) = await came(feed, "a0")
        oracle.xack(topic, GROUP, held.position)
        await layer.publish(of_keys(topic, "a2"))
        for word in ("a1", "a2"):
            await ack(feed, await came(feed, word))


async def test_a_message_that_is_removed_lets_the_next_one_go(layer, topic) -> None:
    async with in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1 a2"))
        held = [*await feed.receive(10)]
        kept = [one async for page in layer.browse(topic) for one in page]
        assert [one.is_held for one in kept] == [True, False, False]
        assert await feed.settle(nacks(held, 600.0)) == [CONFIRMED]
        first, second = kept[0].position, kept[1].position
        assert await layer.remove(topic, [second, first]) == [True, True]
        await came(feed, "a2")


async def test_what_waits_is_not_read_as_far_as_the_lag_goes(layer, topic) -> None:
    async with in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1 a2 -3"))
        await came(feed, "a0 -3")
        with anyio.fail_after(SOON):
            while feed.lag() != 2:
                await anyio.sleep(0.1)


async def test_a_group_that_is_removed_leaves_nothing(layer, oracle: Oracle, topic) -> None:
    async with in_order(layer, topic) as feed:
        await layer.publish(of_keys(topic, "a0 a1"))
        await ack(feed, await came(feed, "a0"))
    await layer.remove_group([topic], GROUP)
    assert [*oracle.scan_iter(f"acked:*{topic}*")] == []
    async with in_order(layer, topic) as feed:
        await came(feed, "a0")


async def test_a_group_that_was_not_in_order_is_from_now_on(layer, oracle: Oracle, topic) -> None:
    """What dead consumers held without an order comes in order."""
    async with consuming(layer, topic, lease=0.5) as dead:
        await layer.publish(of_keys(topic, " ".join(f"a{n} b{n}" for n in range(300))))
        await receive(dead, 600)
        let_leases_end(oracle, topic)
        async with in_order(layer, topic) as feed:
            for n in range(300):
                await ack(feed, await came(feed, f"a{n} b{n}"))


async def test_many_topics_share_a_read_of_few(layer) -> None:
    topics = [fresh("stream") for _ in range(450)]
    seen: defaultdict[str, list[str]] = defaultdict(list)
    async with in_order(layer, *topics) as feed:
        await layer.publish([one for topic in topics for one in of_keys(topic, "a0 a1")])
        while sum(map(len, seen.values())) < 2 * len(topics):
            with anyio.fail_after(SOON):
                batch = await feed.receive(7)
            assert len({one.record.topic for one in batch}) == len(batch) <= 7
            for one in batch:
                seen[one.record.topic] += bodies([one])
            await ack(feed, [*batch])
    assert seen == {topic: ["a0", "a1"] for topic in topics}


async def test_thousands_of_successors_of_a_poison_key_cost_nobody_else(layer, topic) -> None:
    async def good_ones(start: int) -> float:
        words = [f"{'bcdef'[n % 5]}{n}" for n in range(start, start + 60)]
        await layer.publish(of_keys(topic, " ".join(words)))
        began = time.monotonic()
        for _ in words:
            batch = await receive(feed, 1)
            assert batch[0].record.key != "a"
            await ack(feed, batch)
        return time.monotonic() - began

    async with in_order(layer, topic) as feed:
        alone = await good_ones(0)
        await layer.publish(of_keys(topic, "a0"))
        assert await feed.settle(nacks(await came(feed, "a0"), 600.0)) == [CONFIRMED]
        await layer.publish([Record(topic, b"", "id", "a") for _ in range(SUCCESSORS)])
        await layer.publish(of_keys(topic, "b9"))
        await ack(feed, await came(feed, "b9"))
        # A walk over them at each claim would be a hundred times as much, and not five.
        assert await good_ones(100) < 5 * alone + 0.5


async def test_on_a_cluster_each_key_of_each_slot_is_in_order(redis_cluster) -> None:
    topics = names(redis_cluster)
    async with RedisStreamsLayer(redis_cluster.nodes[0].url, cluster=True) as layer:
        async with in_order(layer, *topics) as feed:
            await layer.publish([one for topic in topics for one in of_keys(topic, "a0 a1 a2")])
            for word in ("a0", "a1", "a2"):
                held = await receive(feed, len(topics))
                assert bodies(held) == [word] * len(topics)
                replies = await feed.settle(acks(held))
                assert replies == [Outcome.CONFIRMED] * len(topics)
