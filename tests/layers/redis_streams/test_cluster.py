"""Redis Streams on a cluster of three masters: slots, kills, slots that move."""

import asyncio

import anyio
import pytest
import redis
from anyio import to_thread

from acked import AckUnconfirmed, Channel, Topic
from acked.codecs import RAW
from acked.errors import ConfigurationError, ConnectionLost, LayerError, PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer, _multi_slot
from acked.layers.redis_streams._scripts import FREE
from acked.types import Leased, Record, Settlement, Verb
from tests.layers.redis_cluster_kit import move, name_on, names, oracle_of, owner_of
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LOST,
    acks,
    bodies,
    consuming,
    nacks,
    pending,
    receive,
    records,
)

pytestmark = pytest.mark.anyio

SOON = 30.0


def url_of(cluster) -> str:
    return f"redis-streams://127.0.0.1:{cluster.nodes[0].port}?cluster=1"


def layer_of(cluster, **options) -> RedisStreamsLayer:
    return RedisStreamsLayer(cluster.nodes[0].url, cluster=True, **options)


async def test_topics_of_all_nodes_are_published_and_consumed_together(redis_cluster) -> None:
    topics = names(redis_cluster) + names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, *topics) as feed:
            mixed = [records(topic, turn)[0] for turn in range(20) for topic in topics]
            receipts = await layer.publish(mixed)
            assert [receipt.topic for receipt in receipts] == [record.topic for record in mixed]
            got = await receive(feed, len(mixed))
            for topic in topics:
                mine = [one for one in got if one.record.topic == topic]
                assert bodies(mine) == [str(turn) for turn in range(20)]
            assert await feed.settle(acks(got)) == [CONFIRMED] * len(got)
            assert [pending(oracle, topic) for topic in topics] == [{}] * len(topics)
            assert await feed.settle(nacks(got)) == [LOST] * len(got)


async def test_a_consumer_that_has_left_runs_no_task(redis_cluster) -> None:
    """Its parts read by themselves, and what they read for nobody is given back by one more."""
    topics = names(redis_cluster)
    async with layer_of(redis_cluster) as layer:
        before = asyncio.all_tasks()
        async with consuming(layer, *topics) as feed:
            await layer.publish(records(topics[0], 1))
            assert len(await receive(feed, 1)) == 1
        assert asyncio.all_tasks() == before


async def test_keys_beside_a_stream_are_in_its_slot(redis_cluster) -> None:
    topics = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, *topics) as feed:
            await layer.publish([record for topic in topics for record in records(topic, 1)])
            got = await receive(feed, 3)
            assert await feed.settle(nacks(got, 0.01)) == [CONFIRMED] * 3
            assert [one.attempt for one in await receive(feed, 3)] == [2, 2, 2]
            for topic in topics:
                with redis.Redis.from_url(owner_of(redis_cluster, topic).url) as node:
                    assert len(list(node.scan_iter(f"acked:{{{topic}}}*"))) >= 1
        assert all(oracle.xinfo_consumers(topic, GROUP) != [] for topic in topics)


async def test_dead_letters_in_another_slot_are_copied_first(redis_cluster) -> None:
    topic, dead, _ = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, topic) as feed:
            await layer.publish(records(topic, 1, 2))
            ours, stolen = await receive(feed, 2)
            oracle.xclaim(topic, GROUP, "another", 0, [stolen.position])
            letters = [Record(dead, one.record.body, one.record.id) for one in (ours, stolen)]
            rejections = [
                Settlement(one.token, Verb.REJECT, dead_letter=letter)
                for one, letter in zip((ours, stolen), letters, strict=True)
            ]
            assert await feed.settle(rejections) == [CONFIRMED, LOST]
            assert [fields[b"body"] for _, fields in oracle.xrange(dead)] == [b"1"]
            assert list(pending(oracle, topic)) == [stolen.position]


# The oldest redis-py that is promised warns of a call of its own.
@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")
async def test_what_one_part_refuses_for_good_is_raised_and_not_tried_for_ever(
    redis_cluster,
) -> None:
    topics = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, *topics) as feed:
            oracle.delete(topics[1])
            oracle.set(topics[1], "no stream")
            with anyio.fail_after(SOON), pytest.raises(LayerError, match="WRONGTYPE") as told:
                while True:
                    await feed.receive(10)
    assert not told.value.may_pass


# As above.
@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")
async def test_where_several_parts_refuse_leaving_leaves_none_of_them_open(redis_cluster) -> None:
    topics = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, *topics) as feed:
            for topic in topics:
                oracle.delete(topic)
                oracle.set(topic, "no stream")
            with anyio.fail_after(SOON):
                with pytest.raises(LayerError, match="WRONGTYPE"):
                    while True:
                        await feed.receive(10)
                while not all(task.done() for task in feed._intake._reading):
                    await anyio.sleep(0.01)
            readers = [part._reader for part in feed._intake._idle]
            readers += [part._reader for part in feed._intake._reading.values()]
            for reader in readers:
                await reader.open()
        assert [reader.is_open for reader in readers] == [False] * 3
        for topic in topics:
            oracle.delete(topic)


async def test_receives_cancelled_at_any_time_lose_and_repeat_nothing(redis_cluster) -> None:
    topics = names(redis_cluster)
    got: list[Leased] = []
    async with layer_of(redis_cluster) as layer, consuming(layer, *topics) as feed:
        async with anyio.create_task_group() as group:
            for topic in topics:
                group.start_soon(layer.publish, records(topic, *range(200)))
            with anyio.fail_after(SOON):
                while len(got) < 600:
                    with anyio.move_on_after(0.002):
                        got += await feed.receive(10)
        assert await feed.settle(acks(got)) == [CONFIRMED] * 600
    assert len({one.token for one in got}) == 600
    assert {one.attempt for one in got} == {1}


async def test_what_was_read_ahead_and_not_handed_out_is_given_back_uncharged(
    redis_cluster,
) -> None:
    topics = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer:
            async with consuming(layer, *topics) as feed:
                with anyio.move_on_after(0.05):
                    await feed.receive(10)
                await layer.publish([record for name in topics for record in records(name, 1)])
                with anyio.fail_after(SOON):
                    while sum(len(pending(oracle, topic)) for topic in topics) < 3:
                        await anyio.sleep(0.01)
            async with consuming(layer, *topics) as feed:
                got = await receive(feed, 3)
                assert [one.attempt for one in got] == [1, 1, 1]
                assert await feed.settle(acks(got)) == [CONFIRMED] * 3


async def test_what_waited_too_long_to_be_handed_out_is_not_if_another_has_it(
    redis_cluster,
) -> None:
    one, two, _ = names(redis_cluster)
    with oracle_of(redis_cluster) as oracle:
        async with layer_of(redis_cluster) as layer, consuming(layer, one, two, lease=2) as feed:
            with anyio.move_on_after(0.05):
                await feed.receive(10)
            await layer.publish([*records(one, "stolen"), *records(two, "kept")])
            with anyio.fail_after(SOON):
                while not (pending(oracle, one) and pending(oracle, two)):
                    await anyio.sleep(0.01)
            oracle.xclaim(one, GROUP, "another", 0, list(pending(oracle, one)))
            await anyio.sleep(1.1)
            assert bodies(await receive(feed, 1)) == ["kept"]


async def test_a_node_killed_in_mid_stream_costs_nothing_that_was_accepted(
    redis_cluster,
) -> None:
    topics = [Topic(name, bytes, codec=RAW) for name in names(redis_cluster)]
    accepted: set[bytes] = set()
    seen: set[bytes] = set()
    unsure: list[object] = []
    is_published = anyio.Event()
    victim = owner_of(redis_cluster, topics[1].name)

    async def publish(channel: Channel) -> None:
        for number in range(600):
            body = b"%d" % number
            while True:
                try:
                    await channel.publish(topics[number % 3], body)
                except PublishFailed:
                    await anyio.sleep(0.05)
                else:
                    accepted.add(body)
                    break
            if number == 200:
                await to_thread.run_sync(victim.kill)
                killed.set()
        is_published.set()

    async def restart() -> None:
        await killed.wait()
        await anyio.sleep(1.0)
        await to_thread.run_sync(victim.start)

    killed = anyio.Event()
    with anyio.fail_after(120):
        async with Channel.from_url(url_of(redis_cluster)) as channel:
            async with channel.subscribe(*topics, group=GROUP, lease=5) as sub:
                async with anyio.create_task_group() as group:
                    group.start_soon(publish, channel)
                    group.start_soon(restart)
                    async for delivery in sub:
                        seen.add(delivery.body)
                        try:
                            await delivery.ack()
                        except AckUnconfirmed:
                            unsure.append(delivery)  # settled, or it comes again
                        if is_published.is_set() and accepted <= seen:
                            break
    await to_thread.run_sync(redis_cluster.wait_until_ready)
    assert len(accepted) == 600


async def test_a_slot_that_moves_takes_its_streams_along(redis_cluster) -> None:
    source, target, _ = redis_cluster.nodes
    name = name_on(redis_cluster, source)
    other = name_on(redis_cluster, target)
    async with layer_of(redis_cluster) as layer, consuming(layer, name, other) as feed:
        await layer.publish(records(name, 1, 2))
        held = await receive(feed, 2)
        await to_thread.run_sync(move, redis_cluster, name, target)
        await layer.publish(records(name, 3))
        assert await feed.settle(acks(held)) == [CONFIRMED, CONFIRMED]
        got: list[Leased] = []
        with anyio.fail_after(SOON):
            while not got:
                try:
                    got += await feed.receive(5)
                except ConnectionLost:
                    await anyio.sleep(0.05)
        assert bodies(got) == ["3"]
        assert await feed.settle(acks(got)) == [CONFIRMED]
    await to_thread.run_sync(move, redis_cluster, name, source)


async def test_a_node_of_a_cluster_says_what_is_missing_in_the_url(redis_cluster) -> None:
    async with RedisStreamsLayer(redis_cluster.nodes[0].url) as layer:
        with pytest.raises(PublishFailed, match="add cluster=1"):
            await layer.publish([record for n in names(redis_cluster) for record in records(n, 1)])


async def test_a_single_server_is_no_cluster(redis_broker) -> None:
    with pytest.raises(LayerError, match="cluster support disabled"):
        async with RedisStreamsLayer(redis_broker.url, cluster=True):
            pass


def test_the_option_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="'cluster' must be true or false, not 'maybe'"):
        RedisStreamsLayer.from_url("redis-streams://h?cluster=maybe")


async def test_leaving_gives_back_at_the_other_nodes_although_one_is_dead(
    redis_cluster, caplog
) -> None:
    kept, lost, _ = names(redis_cluster)
    victim = owner_of(redis_cluster, lost)
    async with layer_of(redis_cluster) as layer:
        async with consuming(layer, lost, kept) as feed:
            await layer.publish([*records(kept, 1), *records(lost, 2)])
            await receive(feed, 2)
            await to_thread.run_sync(victim.kill)
        with redis.Redis.from_url(owner_of(redis_cluster, kept).url) as node:
            (row,) = node.xpending_range(kept, GROUP, "-", "+", 10)
            assert row["consumer"] == FREE
        assert caplog.text.count("left without a word") == 1
        await to_thread.run_sync(redis_cluster.start)


async def test_a_node_that_was_emptied_is_consumed_from_again(redis_cluster, caplog) -> None:
    emptied, other, _ = names(redis_cluster)
    async with layer_of(redis_cluster) as layer, consuming(layer, emptied, other) as feed:
        await layer.publish([*records(emptied, 1), *records(other, 2)])
        held = await receive(feed, 2)
        with redis.Redis.from_url(owner_of(redis_cluster, emptied).url) as node:
            node.flushall()
        await layer.publish([*records(emptied, 3), *records(other, 4)])
        got = await receive(feed, 2)
        assert sorted(bodies(got)) == ["3", "4"]
        assert await feed.settle(acks(got)) == [CONFIRMED, CONFIRMED]
        assert sorted(await feed.settle(acks(held))) == sorted([LOST, CONFIRMED])
    assert "created again" in caplog.text


async def test_a_dead_part_is_told_once_while_the_others_go_on(redis_cluster, caplog) -> None:
    kept, other, lost = names(redis_cluster)
    victim = owner_of(redis_cluster, lost)
    async with layer_of(redis_cluster, timeout=2.0) as layer:
        async with consuming(layer, kept, other, lost) as feed:
            await to_thread.run_sync(victim.kill)
            try:
                with anyio.fail_after(SOON):
                    for number in range(12):
                        topic = kept if number % 2 else other
                        await layer.publish(records(topic, number))
                        (one,) = await feed.receive(1)
                        assert bodies([one]) == [str(number)]
                        assert await feed.settle(acks([one])) == [CONFIRMED]
                        await anyio.sleep(0.1)
                assert isinstance(feed.failing, ConnectionLost)
                assert caplog.text.count("others go on") == 1
                assert "again" not in caplog.text
            finally:
                await to_thread.run_sync(redis_cluster.start)
            with anyio.fail_after(SOON):
                while feed.failing is not None:
                    with anyio.move_on_after(0.2):
                        await feed.receive(1)
            assert caplog.text.count("from all parts of the cluster again") == 1


async def test_a_part_that_stays_dead_ends_the_receiving_although_others_work(
    redis_cluster, monkeypatch
) -> None:
    monkeypatch.setattr(_multi_slot, "LOST_FOR", 1.0)
    kept, lost, _ = names(redis_cluster)
    victim = owner_of(redis_cluster, lost)
    async with layer_of(redis_cluster, timeout=2.0) as layer:
        async with consuming(layer, kept, lost) as feed:
            await to_thread.run_sync(victim.kill)
            with anyio.fail_after(SOON):
                with pytest.raises(LayerError, match=r"so for [0-9]+ s") as caught:
                    await feed.receive(1)
            assert not caught.value.may_pass
        await to_thread.run_sync(redis_cluster.start)


async def test_when_no_part_works_the_connection_is_lost(redis_cluster) -> None:
    one, two, three = names(redis_cluster)
    async with layer_of(redis_cluster, timeout=2.0) as layer:
        async with consuming(layer, one, two, three) as feed:
            await to_thread.run_sync(lambda: [node.kill() for node in redis_cluster.nodes])
            with anyio.fail_after(SOON), pytest.raises(ConnectionLost):
                await feed.receive(1)
        await to_thread.run_sync(redis_cluster.start)
