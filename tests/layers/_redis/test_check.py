"""What `channel.check()` says of real servers: as they are started here, dangerous, and silent."""

import pytest

from acked import Channel
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from acked.types import Finding, Severity
from tests.layers.redis_pubsub_kit import client_of

pytestmark = pytest.mark.anyio

OK, NOTICE, WARNING = Severity.OK, Severity.NOTICE, Severity.WARNING


async def checked(layer) -> dict[str, Finding]:
    async with Channel(layer) as channel:
        found = await channel.check()
    assert all(one.message for one in found)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def verdicts(found: dict[str, Finding]) -> dict[str, tuple[object, Severity]]:
    return {name: (one.value, one.severity) for name, one in found.items()}


async def test_a_server_that_syncs_every_write_is_as_it_should_be(private_redis) -> None:
    broker = private_redis()
    assert verdicts(await checked(RedisStreamsLayer(broker.url))) == {
        "server_version": (broker.version, OK),
        "persistence": ("always", OK),
        "eviction": ("noeviction", OK),
        "maxmemory": (0, OK),
        "replicas": (0, OK),
        "min_replicas_to_write": (0, OK),
        "cluster": (0, OK),
        "backlog": (0, OK),
    }


async def test_a_group_that_is_nearly_as_far_behind_as_a_stream_is_long_is_a_warning(
    private_redis,
) -> None:
    broker = private_redis()
    async with Channel(RedisStreamsLayer(broker.url, maxlen=100)) as channel:
        async with channel.subscribe("t", group="slow", in_flight=10) as slow:
            await channel.publish_many("t", range(60))
            held = [await anext(slow) for _ in range(10)]
            found = {one.name: one for one in await channel.check()}
            assert (found["backlog"].value, found["backlog"].severity) == (60, WARNING)
            for delivery in held:
                await delivery.ack()
            for _ in range(20):
                await (await anext(slow)).ack()
            found = {one.name: one for one in await channel.check()}
            assert (found["backlog"].value, found["backlog"].severity) == (30, OK)


@pytest.mark.parametrize(
    ("settings", "name", "value", "severity"),
    [
        ({"appendfsync": "everysec"}, "persistence", "everysec", NOTICE),
        ({"appendfsync": "no"}, "persistence", "no", WARNING),
        ({"appendonly": "no"}, "persistence", "none", WARNING),
        ({"appendonly": "no", "save": "60 1"}, "persistence", "snapshots", WARNING),
        ({"maxmemory": "100mb"}, "maxmemory", 100 * 2**20, NOTICE),
        ({"maxmemory-policy": "allkeys-lru"}, "eviction", "allkeys-lru", OK),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            *("eviction", "allkeys-lru", WARNING),
        ),
        ({"min-replicas-to-write": "1"}, "min_replicas_to_write", 1, OK),
    ],
)
async def test_what_is_dangerous_is_said(private_redis, settings, name, value, severity) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        for setting, text in settings.items():
            await admin.config_set(setting, text)
    found = await checked(RedisStreamsLayer(broker.url))
    assert verdicts(found)[name] == (value, severity)


async def test_replicas_that_lag_behind_and_a_replica_are_said(private_redis) -> None:
    master, replica = private_redis(), private_redis()
    async with client_of(replica) as admin, client_of(master) as other:
        await admin.replicaof("127.0.0.1", str(master.port))
        while (await other.info("replication"))["connected_slaves"] == 0:
            pass
        found = await checked(RedisStreamsLayer(master.url))
        assert verdicts(found)["replicas"] == (1, OK)
        assert verdicts(found)["min_replicas_to_write"] == (0, NOTICE)
        found = await checked(RedisStreamsLayer(replica.url))
        assert found["replicas"].severity is WARNING


@pytest.mark.parametrize("forbidden", [("-config",), ("-config", "-info")])
async def test_what_a_user_may_not_ask_is_none(private_redis, forbidden) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        rights = ("+@all", *forbidden, "~*", "&*")
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
    url = broker.url.replace("://", "://u:pw@")
    found = await checked(RedisStreamsLayer(url))
    assert verdicts(found)["persistence"] == (None, NOTICE)
    assert verdicts(found)["min_replicas_to_write"] == (None, NOTICE)
    knows_info = "-info" not in forbidden
    expected = ("noeviction", OK) if knows_info else (None, NOTICE)
    assert verdicts(found)["eviction"] == expected
    found = await checked(RedisPubSubLayer(url))
    assert verdicts(found)["output_buffer_limit"] == (None, NOTICE)


async def test_news_are_bounded_by_the_servers_output_buffer(private_redis) -> None:
    broker = private_redis()
    assert verdicts(await checked(RedisPubSubLayer(broker.url))) == {
        "server_version": (broker.version, OK),
        "output_buffer_limit": ("33554432 8388608 60", NOTICE),
        "cluster": (0, OK),
    }
    async with client_of(broker) as admin:
        await admin.config_set("client-output-buffer-limit", "pubsub 0 0 0")
    found = await checked(RedisPubSubLayer(broker.url))
    assert verdicts(found)["output_buffer_limit"] == ("0 0 0", OK)


async def test_of_a_cluster_the_worst_node_speaks_for_all(redis_cluster) -> None:
    async with client_of(redis_cluster.nodes[2]) as admin:
        await admin.config_set("appendfsync", "no")
        found = await checked(RedisStreamsLayer(redis_cluster.nodes[0].url, cluster=True))
        await admin.config_set("appendfsync", "always")
    assert verdicts(found)["persistence"] == ("no", WARNING)
    assert verdicts(found)["cluster"] == (3, OK)
    found = await checked(RedisPubSubLayer(redis_cluster.nodes[0].url, sharded=True))
    assert verdicts(found)["cluster"] == (3, OK)
    found = await checked(RedisStreamsLayer(redis_cluster.nodes[0].url))
    assert verdicts(found)["cluster"] == (1, WARNING)
