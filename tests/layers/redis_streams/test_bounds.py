"""What grows must not grow the work of one script, or of a second without messages."""

import random
import sys
from collections.abc import Callable, Sequence

import anyio
import pytest

from acked import Channel, fire_and_forget
from acked.layers.redis_streams import RedisStreamsLayer, _receiver, _upkeep
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._scripts import FREE
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LONG,
    LOST,
    SOON,
    Oracle,
    acks,
    bodies,
    consuming,
    fresh,
    nacks,
    pending,
    receive,
    records,
    scripts_run,
)

pytestmark = pytest.mark.anyio


def for_each_script(oracle: Oracle, command: str) -> float:
    """Return how often a script called `command`, on average: more than a page is too much."""
    return oracle.info("commandstats")[f"cmdstat_{command}"]["calls"] / scripts_run(oracle)


async def until(is_true: Callable[[], bool], seconds: float = SOON) -> None:
    with anyio.fail_after(seconds):
        while not is_true():
            await anyio.sleep(0.05)


async def test_nine_thousand_that_were_given_back_come_again(private_redis, topic) -> None:
    broker = private_redis()
    async with RedisStreamsLayer(broker.url) as layer:
        for start in range(0, 9_000, 1_000):
            await layer.publish(records(topic, *range(start, start + 1_000)))
        async with consuming(layer, topic) as feed:
            held = await receive(feed, 9_000)
            await feed.release([one.token for one in held])
        async with consuming(layer, topic) as feed:
            again: dict[str, int] = {}
            while len(again) < 9_000:
                some = await feed.receive(20_000)
                again |= {one.position: one.attempt for one in some}
                assert await feed.settle(acks(some)) == [CONFIRMED] * len(some)
            assert set(again.values()) == {1}


@pytest.mark.parametrize("how", ["claim", "recover", "leave"])
async def test_no_script_takes_longer_because_a_consumer_holds_much(
    private_redis, topic, how
) -> None:
    broker, count = private_redis(), 5_000
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer:
            for start in range(0, count, 1_000):
                await layer.publish(records(topic, *range(start, start + 1_000)))
            async with consuming(layer, topic) as feed:
                held = await receive(feed, count)
                oracle.config_resetstat()
                if how == "recover":
                    feed._seat.forget([one.token for one in held])
                    feed._intake._unsure = True
                    assert len(await receive(feed, count)) == count
                if how == "claim":
                    let_leases_end_of_all(oracle, topic)
                    async with consuming(layer, topic) as other:
                        assert len(await receive(other, count)) == count
            assert for_each_script(oracle, "xclaim") <= 1_000
            rows = oracle.xinfo_consumers(topic, GROUP)
            assert [(row["name"], row["pending"]) for row in rows] == [(FREE, count)]


async def test_the_look_for_ended_leases_stays_short_among_those_that_have_not(
    private_redis, topic
) -> None:
    broker, count = private_redis(), 150_000
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            last = max(fill(oracle, topic, count, ["many"]), key=in_order)
            oracle.xclaim(topic, GROUP, "many", 0, [last], idle=86_400_000, justid=True)
            oracle.config_set("slowlog-log-slower-than", 1_000)
            oracle.config_set("slowlog-max-len", 10_000)
            oracle.slowlog_reset()
            (late,) = await receive(feed, 1)
            assert late.position == last.decode()
            slow = sorted(one["duration"] for one in oracle.slowlog_get(10_000))
            # Who else is on this machine may stop the server for a while, but not each time.
            assert len(slow) > 20
            assert slow[len(slow) // 4] < 8_000


@pytest.mark.parametrize("holders", [1, 7, 400])
async def test_every_ended_lease_is_found_whoever_holds_how_much(
    private_redis, topic, holders
) -> None:
    broker, count, some = private_redis(), 42_000, 90
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            held = fill(oracle, topic, count, [f"holder-{n}" for n in range(holders)])
            ended = random.Random(holders).sample(sorted(held), some)
            for entry_id in ended:
                oracle.xclaim(topic, GROUP, held[entry_id], 0, [entry_id], idle=86_400_000)
            found = [one.position for one in await receive(feed, some)]
            assert sorted(found) == sorted(one.decode() for one in ended)


def in_order(entry_id: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split(b"-")))


def fill(oracle: Oracle, topic: str, count: int, holders: Sequence[str]) -> dict[bytes, str]:
    """Publish so many and let others than us hold them all, each its share; return who holds."""
    for start in range(0, count, 10_000):
        with oracle.pipeline(transaction=False) as many:
            for _ in range(start, min(count, start + 10_000)):
                many.xadd(topic, {"body": b"x"})
            many.execute()
    held: dict[bytes, str] = {}
    share = count // len(holders)
    for holder in holders:
        ((_, got),) = oracle.xreadgroup(GROUP, holder, {topic: ">"}, count=share)
        held |= dict.fromkeys((entry_id for entry_id, _ in got), holder)
    return held


def let_leases_end_of_all(oracle: Oracle, topic: str) -> None:
    after = "-"
    while rows := oracle.xpending_range(topic, GROUP, after, "+", 1_000):
        ids = [row["message_id"] for row in rows]
        after = f"({ids[-1].decode()}"
        oracle.xclaim(topic, GROUP, rows[0]["consumer"], 0, ids, idle=86_400_000, justid=True)


async def test_a_thousand_topics_with_a_message_each_are_read_at_once(
    redis_broker, oracle: Oracle
) -> None:
    """The work counts, and not the time: a read, and the acks of it, are a script each."""
    topics = [fresh("many") for _ in range(1_000)]
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, *topics) as feed:
        await layer.publish([records(topic, topic)[0] for topic in topics])
        before = scripts_run(oracle)
        got: list[str] = []
        with anyio.fail_after(60):
            while len(got) < 1_000:
                some = await feed.receive(64)
                assert len(some) <= 64
                got += bodies(some)
                assert await feed.settle(acks(some)) == [CONFIRMED] * len(some)
        assert sorted(got) == sorted(topics)
        assert 2 * 1_000 / 64 < scripts_run(oracle) - before < 130


async def test_acks_of_many_topics_go_together_and_each_is_answered(private_redis) -> None:
    broker, topics = private_redis(), [fresh("many") for _ in range(450)]
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, *topics) as feed:
            await layer.publish([one for topic in topics for one in records(topic, topic)])
            await layer.publish(records(topics[7], *range(30)))
            held = await receive(feed, 480)
            of_topic = {one.record.topic: one for one in held}
            another, gone, deleted = of_topic[topics[3]], of_topic[topics[5]], of_topic[topics[300]]
            oracle.xclaim(topics[3], GROUP, "another", 0, [another.position])
            oracle.xack(topics[5], GROUP, gone.position)
            oracle.xgroup_destroy(topics[300], GROUP)
            oracle.config_resetstat()
            expected = [LOST if one in (another, gone, deleted) else CONFIRMED for one in held]
            assert await feed.settle(acks(held)) == expected
            # Three with the acks of 200, 200 and 49 topics, one of those with many, one apart.
            assert oracle.info("commandstats")["cmdstat_evalsha"]["calls"] <= 8
            owed = [topic for topic in topics if topic != topics[300] and pending(oracle, topic)]
            assert owed == [topics[3]]


async def test_a_busy_topic_of_many_keeps_no_quiet_one_waiting(redis_broker) -> None:
    topics = [fresh("many") for _ in range(50)]
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, *topics) as feed:
        await layer.publish(records(topics[0], *range(500)))
        await layer.publish(records(topics[49], "quiet"))
        got: list[str] = []
        while "quiet" not in got:
            got += bodies(await feed.receive(10))
        assert len(got) <= 20


async def test_one_lost_moment_among_many_is_found_a_page_at_a_time(
    private_redis, topic, monkeypatch
) -> None:
    broker, count = private_redis(), 30_000
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            for start in range(0, count, 1_000):
                await layer.publish(records(topic, *range(start, start + 1_000)))
            held = await receive(feed, count)
            assert await feed.settle(nacks(held, 3_600.0)) == [CONFIRMED] * count
            feed._intake._interval = 0.01  # seconds between two looks: one, else
            lost = held[-1].position
            oracle.zrem(group_keys(topic, GROUP).until, lost)
            oracle.config_resetstat()
            (back,) = await receive(feed, 1)
            assert back.position == lost
            assert for_each_script(oracle, "zscore") <= 4_000  # `walk`, 7 for each


async def test_names_of_dead_consumers_are_forgotten(private_redis, topic, monkeypatch) -> None:
    monkeypatch.setattr(_receiver, "FORGOTTEN_AFTER", 0.5)
    broker = private_redis()
    with Oracle.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer:
            async with consuming(layer, topic):
                pass
            with oracle.pipeline() as many:
                for number in range(2_000):
                    many.xgroup_createconsumer(topic, GROUP, f"dead-{number}")
                many.xgroup_createconsumer(topic, GROUP, "holds one")
                many.execute()
            await layer.publish(records(topic, 1))
            oracle.xreadgroup(GROUP, "holds one", {topic: ">"})
            async with consuming(layer, topic, lease=LONG) as feed, anyio.create_task_group() as t:
                feed._intake._scan_every = feed._intake._interval = 0.05
                t.start_soon(feed.receive, 1)
                oracle.config_resetstat()
                await until(lambda: len(oracle.xinfo_consumers(topic, GROUP)) <= 2)
                assert for_each_script(oracle, "xgroup|delconsumer") <= 2 * 200
                t.cancel_scope.cancel()
            assert [owner for owner, _ in pending(oracle, topic).values()] == [b"holds one"]


async def test_what_every_group_has_settled_is_deleted_and_nothing_else(
    redis_broker, topic, oracle, monkeypatch
) -> None:
    monkeypatch.setattr(_upkeep, "TRIM_EVERY", 0.0)
    async with RedisStreamsLayer(redis_broker.url, keep_settled=0.0) as layer:
        for start in range(0, 3_000, 1_000):
            await layer.publish(records(topic, *range(start, start + 1_000)))
        assert oracle.xlen(topic) == 3_000  # without groups nothing is settled
        async with consuming(layer, topic) as fast, consuming(layer, topic, group="slow") as slow:
            all_of_it = await receive(fast, 3_000)
            assert await fast.settle(acks(all_of_it)) == [CONFIRMED] * 3_000
            held = await receive(slow, 2_000)
            await slow.settle(acks([*held[:1_000], *held[1_001:]]))
            await one_more(layer, fast, topic)
            kept = [entry_id.decode() for entry_id, _ in oracle.xrange(topic)]
            assert held[1_000].position in kept  # the oldest that is owed
            assert 2_000 <= len(kept) <= 2_200  # whole nodes of a hundred entries
            await slow.settle(acks(held[1_000:1_001]))
            await one_more(layer, fast, topic)
            rest = await receive(slow, 1_002)
            assert bodies(rest) == [*map(str, range(2_000, 3_000)), "more", "more"]
            await slow.settle(acks(rest))
            await one_more(layer, fast, topic)
            assert oracle.xlen(topic) <= 200


async def one_more(layer: RedisStreamsLayer, feed, topic: str) -> None:
    """Let the consumer go once round: it tidies up before it reads."""
    for _ in range(2):
        with anyio.move_on_after(0.2):
            await feed.receive(1)
    await layer.publish(records(topic, "more"))
    assert await feed.settle(acks(await receive(feed, 1))) == [CONFIRMED]


async def test_what_is_settled_is_kept_as_long_as_was_asked(
    redis_broker, topic, oracle, monkeypatch
) -> None:
    monkeypatch.setattr(_upkeep, "TRIM_EVERY", 0.0)
    for keep in (None, 3_600.0):
        async with RedisStreamsLayer(redis_broker.url, keep_settled=keep) as layer:
            await layer.publish(records(topic, *range(1_000)))
            async with consuming(layer, topic) as feed:
                assert await feed.settle(acks(await receive(feed, 1_000))) == [CONFIRMED] * 1_000
                await one_more(layer, feed, topic)
    assert oracle.xlen(topic) == 2_002


async def test_groups_of_listeners_that_were_killed_are_removed_by_the_living(
    private_redis, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_upkeep, "SWEEP_EVERY", 0.1)
    monkeypatch.setattr(_upkeep, "FORGOTTEN_AFTER", 2.5)
    broker = private_redis()
    killed = await anyio.open_process([sys.executable, "-c", LISTENERS, broker.url, topic])
    with Oracle.from_url(broker.url) as oracle:
        await until(lambda: heard(oracle, topic) == 5, 30)
        oracle.xgroup_create(topic, "somebody's own", "$")
        killed.kill()
        await killed.wait()
        oracle.xgroup_create(topic, "acked-news-that-never-read", "$")
        async with Channel(fire_and_forget(RedisStreamsLayer(broker.url))) as channel:
            async with channel.subscribe(topic) as living:
                await until(lambda: len(oracle.xinfo_groups(topic)) == 2, 30)
                await channel.publish(topic, "still here")
                assert (await anext(living)).body == "still here"
        assert [one["name"] for one in oracle.xinfo_groups(topic)] == [b"somebody's own"]
        assert list(oracle.scan_iter("acked:*acked-news*")) == []
    await killed.aclose()


async def test_upkeep_that_is_refused_is_told_once_and_stops_nobody(
    private_redis, topic, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(_upkeep, "TRIM_EVERY", 0.0)
    monkeypatch.setattr(_upkeep, "SWEEP_EVERY", 0.0)
    monkeypatch.setattr(_upkeep, "FORGOTTEN_AFTER", 0.0)
    broker = private_redis()
    with Oracle.from_url(broker.url) as oracle:
        rights = ("~*", "&*", "+@all", "-xtrim", "-xgroup|destroy", "-del")
        oracle.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
        oracle.xgroup_create(topic, "acked-news-dead", "$", mkstream=True)
        oracle.xgroup_create(topic, GROUP, "$")
        url = broker.url.replace("://", "://u:pw@")
        async with RedisStreamsLayer(url, keep_settled=0) as layer:
            async with consuming(layer, topic) as feed:
                for number in range(5):
                    await layer.publish(records(topic, number))
                    assert bodies(await receive(feed, 1)) == [str(number)]
        assert oracle.xlen(topic) == 5
    assert caplog.text.count("what is settled is not deleted") == 1
    assert caplog.text.count("dead listener's group was not removed") == 1


def heard(oracle: Oracle, topic: str) -> int:
    """Return how many groups have a consumer that reads."""
    return (
        sum(one["consumers"] > 0 for one in oracle.xinfo_groups(topic))
        if (oracle.exists(topic))
        else 0
    )


LISTENERS = """
import sys, anyio
from contextlib import AsyncExitStack
from acked import Channel, fire_and_forget
from acked.layers.redis_streams import RedisStreamsLayer

async def main(url, topic):
    async with Channel(fire_and_forget(RedisStreamsLayer(url))) as channel, AsyncExitStack() as all:
        for _ in range(5):
            await all.enter_async_context(channel.subscribe(topic))
        await anyio.sleep_forever()

anyio.run(main, *sys.argv[1:])
"""
