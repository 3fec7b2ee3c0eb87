"""Redis pub/sub on a cluster of three masters: any node, sharded channels, kills, moved slots."""

import anyio
import pytest
from anyio import to_thread

from acked import CapabilityError, Channel, LayerError, PublishFailed
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.types import Record
from tests.layers.redis_cluster_kit import move, name_on, names, owner_of
from tests.layers.redis_pubsub_kit import RECONNECTED, Recorder, client_of, tasks, until

pytestmark = pytest.mark.anyio


def layer_of(of, *, node: int = 0, **options) -> RedisPubSubLayer:
    return RedisPubSubLayer(of.nodes[node].url, **options)


async def published(layer: RedisPubSubLayer, *records: Record) -> None:
    """Publish as soon as somebody takes it."""
    with anyio.fail_after(30):
        while True:
            try:
                await layer.publish(records)
            except PublishFailed:
                await anyio.sleep(0.05)
            else:
                return


async def test_what_one_node_was_told_all_nodes_pass_on(redis_cluster) -> None:
    topics = names(redis_cluster)
    sink = Recorder()
    async with (
        layer_of(redis_cluster, cluster=True) as one,
        layer_of(redis_cluster, node=1, cluster=True) as other,
        one.listen(topics, sink),
        one.listen_patterns(["*"], by_pattern := Recorder()),
    ):
        await other.publish([Record(topic, b"%d" % n, "id") for n, topic in enumerate(topics)])
        await until(lambda: len(sink.told) == len(by_pattern.told) == 3)
    assert sorted(sink.told) == sorted(by_pattern.told) == [b"0", b"1", b"2"]


async def test_a_killed_node_is_a_gap_and_another_one_serves(redis_cluster) -> None:
    first, second, _ = redis_cluster.nodes
    topic = name_on(redis_cluster, second)
    try:
        async with layer_of(redis_cluster, cluster=True) as layer:
            async with layer.listen([topic], sink := Recorder()):
                await layer.publish([Record(topic, b"before", "id")])
                await until(lambda: sink.told == [b"before"])
                await to_thread.run_sync(first.kill)
                await until(lambda: sink.told == [b"before", RECONNECTED])
                await published(layer, Record(topic, b"after", "id"))
                await until(lambda: sink.told[2:] == [b"after"])
    finally:
        await to_thread.run_sync(redis_cluster.start)


async def test_sharded_channels_are_heard_at_their_nodes(redis_cluster) -> None:
    topics = names(redis_cluster) + names(redis_cluster)
    before = tasks()
    all_of_them, only = Recorder(), Recorder()
    async with layer_of(redis_cluster, sharded=True) as layer:
        async with layer.listen(topics, all_of_them), layer.listen(topics[:1], only):
            records = [Record(t, f"{t} {n}".encode(), "i") for n in range(50) for t in topics]
            await layer.publish(records)
            await until(lambda: len(all_of_them.told) == 300 and len(only.told) == 50)
            for topic in topics:
                mine = [body for body in all_of_them.told if body.startswith(topic.encode() + b" ")]
                assert mine == [f"{topic} {n}".encode() for n in range(50)]
                async with client_of(owner_of(redis_cluster, topic)) as stranger:
                    told = await stranger.execute_command("PUBSUB", "SHARDNUMSUB", topic)
                    assert told == [topic.encode(), 1]
        assert tasks() == before  # the connections of slots that nobody listens to are closed
        async with layer.listen(topics, again := Recorder()):
            await layer.publish(records[:6])
            await until(lambda: len(again.told) == 6)


async def test_sharded_channels_have_no_patterns(redis_cluster) -> None:
    async with Channel(layer_of(redis_cluster, sharded=True)) as channel:
        with pytest.raises(CapabilityError):
            channel.subscribe("a*", patterns=True)
        with pytest.raises(CapabilityError, match="subscribe by name"):
            async with channel.layer.listen_patterns(["a*"], Recorder()):
                pass


async def test_a_slot_that_moves_is_a_gap_and_heard_at_its_new_node(redis_cluster) -> None:
    source, target, _ = redis_cluster.nodes
    topic, other = name_on(redis_cluster, source), name_on(redis_cluster, source)
    async with layer_of(redis_cluster, sharded=True) as layer:
        async with (
            layer.listen([topic], sink := Recorder()),
            layer.listen([other], still := Recorder()),
        ):
            await to_thread.run_sync(move, redis_cluster, topic, target)
            await until(lambda: sink.told == [RECONNECTED])
            await published(layer, Record(topic, b"after", "id"), Record(other, b"x", "id"))
            await until(lambda: sink.told[1:] == [b"after"] and still.told == [b"x"])
        await to_thread.run_sync(move, redis_cluster, topic, source)


async def test_a_killed_shard_is_a_gap_and_heard_again(redis_cluster) -> None:
    topics = names(redis_cluster)
    victim = redis_cluster.nodes[1]
    async with layer_of(redis_cluster, sharded=True) as layer:
        async with layer.listen(topics, sink := Recorder()):
            await to_thread.run_sync(victim.kill)
            with pytest.raises(PublishFailed):
                await layer.publish([Record(topics[1], b"nobody", "id")])
            await to_thread.run_sync(redis_cluster.start)
            await until(lambda: RECONNECTED in sink.told)
            await published(layer, *(Record(topic, topic.encode(), "id") for topic in topics))
            await until(lambda: {topic.encode() for topic in topics} <= set(sink.told))


async def test_a_loss_is_raised_where_that_was_asked_for(redis_cluster) -> None:
    (topic, *_) = names(redis_cluster)
    async with layer_of(redis_cluster, sharded=True, on_loss="raise") as layer:
        async with layer.listen([topic], sink := Recorder()):
            async with client_of(redis_cluster.nodes[0]) as stranger:
                await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: len(sink.told) == 1)
            assert isinstance(sink.told[0], LayerError)


async def test_a_single_server_is_no_cluster(redis_broker) -> None:
    with pytest.raises(LayerError, match="cluster support disabled"):
        async with RedisPubSubLayer.from_url(
            redis_broker.url.replace("redis://", "redis-pubsub://") + "?sharded=1"
        ):
            pass
