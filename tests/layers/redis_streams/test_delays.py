"""What is published with a delay on Redis: kept by the server, whoever reads it first or dies."""

import anyio
import pytest
import redis

from acked import Channel, Start, fire_and_forget
from acked.layers.redis_streams import RedisStreamsLayer, RedisStreamsTail, _receiver
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._scripts import DELAY, FREE
from acked.types import Record
from tests.layers.redis_cluster_kit import names
from tests.layers.redis_pubsub_kit import Recorder, until
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
    only_a_sentinel_comes,
    pending,
    receive,
    records,
    scripts_run,
)

pytestmark = pytest.mark.anyio

BACK: tuple[bytes, int] = (FREE, 0)
"""Owner and deliveries of what is held back."""


def in_order(layer: RedisStreamsLayer, *topics: str):
    return layer.consume_in_key_order(
        topics, GROUP, in_flight=100, lease=LONG, start=Start.EARLIEST
    )


async def publish(layer: RedisStreamsLayer, topic: str, *bodies: object, delay: float) -> list[str]:
    """Publish `bodies` with `delay`; return where they are."""
    receipts = await layer.publish(records(topic, *bodies, delay=delay))
    return [str(one.position) for one in receipts]


def is_due(oracle: Oracle, position: str, delay: float) -> bool:
    """Say whether what is at `position` is due, by the server's clock."""
    seconds, microseconds = oracle.time()
    return int(position.partition("-")[0]) / 1000 + delay <= seconds + microseconds / 1e6


async def test_what_is_not_due_is_nobodys_and_was_never_delivered(layer, oracle, topic) -> None:
    (at,) = await publish(layer, topic, 1, delay=LONG)
    async with consuming(layer, topic) as feed, consuming(layer, topic, group="other") as other:
        await only_a_sentinel_comes(layer, feed, topic)
        assert bodies(await receive(other, 1)) == ["sentinel"]
        assert pending(oracle, topic) == {at: BACK}
        due = int(at.partition("-")[0]) + LONG * 1000
        for group in (GROUP, "other"):
            assert due <= oracle.zscore(group_keys(topic, group).until, at) <= due + 1


async def test_what_another_client_reads_says_it_before_all_else(layer, oracle, topic) -> None:
    (at,) = await publish(layer, topic, 1, delay=1.5)
    ((told, fields),) = oracle.xrange(topic)
    assert told.decode() == at
    assert next(iter(fields.items())) == (DELAY, b"1501")


async def test_it_comes_when_it_is_due_as_it_was_at_its_first_attempt(layer, oracle, topic) -> None:
    given = Record(topic, b"body", "id", "key", {"name": "value"}, "text/x", 1.5, delay=0.5)
    async with consuming(layer, topic) as feed:
        (receipt,) = await layer.publish([given])
        (only,) = await receive(feed, 1)
        assert is_due(oracle, str(receipt.position), 0.5)
        assert only.record == Record(topic, b"body", "id", "key", {"name": "value"}, "text/x", 1.5)
        assert (only.attempt, only.position) == (1, receipt.position)


async def test_who_waits_is_woken_for_what_is_due_before_all_else(
    layer, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_receiver, "LONGEST_WAIT", LONG)  # without a wake-up it is too late
    async with consuming(layer, topic) as feed:
        await publish(layer, topic, "last", delay=LONG)
        await publish(layer, topic, "first", delay=0.5)
        assert bodies(await receive(feed, 1)) == ["first"]


async def test_what_is_due_when_it_is_read_comes_at_once_within_the_limit(layer, oracle) -> None:
    topics = [fresh("stream") for _ in range(5)]
    for topic in topics:
        (at,) = await publish(layer, topic, 1, delay=0.001)
    while not is_due(oracle, at, 0.005):
        await anyio.sleep(0.005)
    async with consuming(layer, *topics) as feed:
        with anyio.fail_after(SOON):
            some = await feed.receive(2)
        assert len(some) == 2
        rest = await receive(feed, 3)
        assert {one.record.topic for one in (*some, *rest)} == set(topics)
        assert {one.attempt for one in (*some, *rest)} == {1}


async def test_who_waits_for_many_topics_is_handed_none_that_is_not_due(layer, oracle) -> None:
    topics = [fresh("stream") for _ in range(5)]
    async with consuming(layer, *topics) as feed, anyio.create_task_group() as tasks:
        got = []

        async def wait() -> None:
            got.extend(await feed.receive(2))

        tasks.start_soon(wait)
        with anyio.fail_after(SOON):
            for topic in topics:
                (at,) = await publish(layer, topic, "later", delay=LONG)
                while pending(oracle, topic) != {at: BACK}:
                    await anyio.sleep(0.01)
            await layer.publish(records(topics[0], "now"))
            while not got:
                await anyio.sleep(0.01)
        assert bodies(got) == ["now"]


async def test_who_dies_with_it_before_it_is_due_costs_no_attempt(layer, oracle, topic) -> None:
    """As a process does that is killed between the read and what follows."""
    (at,) = await publish(layer, topic, 1, delay=1.0)
    async with consuming(layer, topic, lease=0.05) as feed:
        oracle.xreadgroup(GROUP, "dead~50", {topic: ">"})
        assert pending(oracle, topic) == {at: (b"dead~50", 1)}
        let_leases_end(oracle, topic)
        with anyio.fail_after(SOON):
            (only,) = await feed.receive(1)
        assert is_due(oracle, at, 1.0)
        assert only.attempt == 1
        assert await feed.settle(acks([only])) == [CONFIRMED]


async def test_a_read_that_was_cancelled_leaves_it_held_back(layer, oracle, topic) -> None:
    async with consuming(layer, topic) as feed:
        (at,) = await publish(layer, topic, 1, delay=LONG)
        consumer = feed._seat.consumer
        feed._intake._unsure = True
        oracle.xreadgroup(GROUP, consumer, {topic: ">"})  # the server delivered, nobody heard
        await only_a_sentinel_comes(layer, feed, topic)
        assert pending(oracle, topic) == {at: BACK}


async def test_it_outlives_a_kill_of_the_server_and_every_consumer(private_redis, topic) -> None:
    broker = private_redis()
    async with RedisStreamsLayer(broker.url) as layer:
        (at,) = await publish(layer, topic, "read", delay=2.0)
        async with consuming(layer, topic) as feed:
            await only_a_sentinel_comes(layer, feed, topic)
        await publish(layer, topic, "unread", delay=2.0)
        broker.kill()
        broker.start()
    with redis.Redis.from_url(broker.url) as oracle:
        assert pending(oracle, topic) == {at: BACK}
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            got = await receive(feed, 2)
            assert is_due(oracle, at, 2.0)
            assert sorted(bodies(got)) == ["read", "unread"]
            assert {one.attempt for one in got} == {1}


async def test_a_nack_after_it_was_due_waits_for_the_nack_alone(layer, oracle, topic) -> None:
    await publish(layer, topic, 1, delay=0.1)
    async with consuming(layer, topic) as feed:
        await feed.settle(nacks(await receive(feed, 1)))
        (again,) = await receive(feed, 1)
        assert (again.attempt, again.failures) == (2, 1)


@pytest.mark.parametrize("word", ["", "x", "-5", "1e9", "nan", "inf", "0x7fffffff", "9" * 400])
async def test_what_is_no_number_of_ours_holds_nothing_back(layer, oracle, topic, word) -> None:
    oracle.xadd(topic, {DELAY: word, b"body": b"1"})
    async with consuming(layer, topic) as feed:
        (only,) = await receive(feed, 1)
        assert (only.record.body, dict(only.record.headers), only.attempt) == (b"1", {}, 1)


async def test_a_delay_without_end_is_kept_as_long_as_can_be_said(layer, oracle, topic) -> None:
    (at,) = await publish(layer, topic, 1, delay=1e300)
    async with consuming(layer, topic) as feed:
        await only_a_sentinel_comes(layer, feed, topic)
        assert pending(oracle, topic) == {at: BACK}


async def test_a_full_server_holds_it_back_as_well(private_redis, topic) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            (at,) = await publish(layer, topic, 1, delay=LONG)
            await layer.publish(records(topic, 2))
            oracle.config_set("maxmemory", 1)
            (only,) = await receive(feed, 1)
            assert bodies([only]) == ["2"]
            assert pending(oracle, topic)[at] == BACK
            oracle.config_set("maxmemory", 0)


async def test_in_the_order_of_keys_it_holds_its_successors_and_nobody_else(
    layer, oracle, topic
) -> None:
    """Read by who waits, so by no script; parked behind an earlier one, and freed by its ack."""
    async with in_order(layer, topic) as feed, anyio.create_task_group() as tasks:
        got = []

        async def work() -> None:
            while len(got) < 5:
                some = await feed.receive(10)
                got.extend(bodies(some))
                assert await feed.settle(acks(some)) == [CONFIRMED] * len(some)

        tasks.start_soon(work)
        for word, delay in ("a0", 0.0), ("a1", 1.0), ("a2", 0.0), ("b3", 1.0), ("c4", 0.0):
            one = Record(topic, word.encode(), f"id-{word}", word[0], delay=delay)
            (receipt,) = await layer.publish([one])
            await anyio.lowlevel.checkpoint()
            if word == "a1":
                due = str(receipt.position)
        with anyio.fail_after(SOON):
            while len(got) < 2:
                await anyio.sleep(0.01)
            assert sorted(got) == ["a0", "c4"]
            while len(got) < 5:
                await anyio.sleep(0.01)
        assert is_due(oracle, due, 1.0)
        assert sorted(got[2:]) == ["a1", "a2", "b3"]
        assert got.index("a1") < got.index("a2")
    assert pending(oracle, topic) == {}


async def test_on_a_cluster_each_slot_holds_back_its_own(redis_cluster) -> None:
    topics = names(redis_cluster) + names(redis_cluster)
    async with RedisStreamsLayer(redis_cluster.nodes[0].url, cluster=True) as layer:
        async with consuming(layer, *topics) as feed:
            began = anyio.current_time()
            for topic in topics:
                await publish(layer, topic, "later", delay=2.0)
            await layer.publish([one for topic in topics for one in records(topic, "now")])
            assert bodies(await receive(feed, len(topics))) == ["now"] * len(topics)
            later = await receive(feed, len(topics))
            assert anyio.current_time() - began >= 2.0
            assert bodies(later) == ["later"] * len(topics)
            assert {one.attempt for one in later} == {1}
            assert await feed.settle(acks(later)) == [CONFIRMED] * len(topics)


async def test_who_hears_it_as_news_hears_it_when_it_is_due(redis_broker, topic) -> None:
    async with Channel(fire_and_forget(RedisStreamsLayer(redis_broker.url))) as channel:
        async with channel.subscribe(topic) as news:
            began = anyio.current_time()
            await channel.publish(topic, "later", delay=1.0)
            await channel.publish(topic, "now")
            with anyio.fail_after(SOON):
                heard = [(await anext(news)).body for _ in range(2)]
            assert heard == ["now", "later"]
            assert anyio.current_time() - began >= 1.0


async def test_what_is_not_due_is_shown_and_can_be_removed(layer, oracle, topic) -> None:
    (read,) = await publish(layer, topic, "read", delay=LONG)
    async with consuming(layer, topic) as feed:
        await only_a_sentinel_comes(layer, feed, topic)
        (unread,) = await publish(layer, topic, "unread", delay=LONG)
        shown = [one async for page in layer.browse(topic) for one in page]
        assert [(one.position, one.is_held) for one in shown] == [(read, False), (unread, False)]
        assert await layer.remove(topic, [read, unread]) == [True, True]
        assert pending(oracle, topic) == {}
        assert not oracle.exists(group_keys(topic, GROUP).until)


async def test_many_delays_are_walked_past_in_few_requests(layer, oracle, topic) -> None:
    """Where one message is asked for, each would take three requests else."""
    await publish(layer, topic, *range(900), delay=LONG)
    await layer.publish(records(topic, "now"))
    async with consuming(layer, topic) as feed:
        before = scripts_run(oracle)
        with anyio.fail_after(SOON):
            assert bodies(await feed.receive(1)) == ["now"]
        assert scripts_run(oracle) - before < 10


async def test_who_reads_the_stream_as_a_log_sees_it_at_once(redis_broker, layer, topic) -> None:
    """As the layer's page says."""
    heard = Recorder()
    async with RedisStreamsTail(redis_broker.url) as tail, tail.listen([topic], heard):
        await layer.publish(records(topic, "later", delay=LONG))
        await until(lambda: heard.told == [b"later"])
