"""What `channel.check()` says of real servers: as they are started here, dangerous, and silent."""

import re
import sys

import pytest

from acked import Channel, Redelivery, fire_and_forget
from acked.errors import ConnectionLost
from acked.layers._redis.findings import backlog, transport
from acked.layers._redis.urls import read_url, readable
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
        "tls": ("off", OK),
        "password_in_clear": (False, OK),
        "rights": ("enough", OK),
        "backlog": (0, OK),
        "settled": (0, OK),
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
            assert (found["backlog"].value, found["backlog"].severity) == (30, NOTICE)


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
        "tls": ("off", OK),
        "password_in_clear": (False, OK),
        "rights": ("enough", OK),
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


async def test_a_backlog_that_nobody_tells_is_said_where_it_matters() -> None:
    untold = backlog(100, [3, None])
    assert (untold.value, untold.severity) == (None, NOTICE)
    assert "maxlen= deletes what is unread" in untold.message
    assert backlog(None, [3, None]).severity is OK  # nothing is trimmed


async def test_a_server_that_is_gone_is_a_lost_connection(private_redis) -> None:
    broker = private_redis()
    async with Channel(RedisStreamsLayer(broker.url)) as channel:
        broker.kill()
        with pytest.raises(ConnectionLost):
            await channel.check()


async def test_what_is_kept_for_nobody_is_said(private_redis) -> None:
    broker = private_redis()
    for options, severity in (({}, NOTICE), ({"keep_settled": 3600}, OK)):
        async with Channel(RedisStreamsLayer(broker.url, **options)) as channel:
            async with channel.subscribe("t", group="g", in_flight=10) as sub:
                await channel.publish_many("t", range(10))
                for _ in range(10):
                    await (await anext(sub)).ack()
                found = verdicts({one.name: one for one in await channel.check()})
                kept, is_said = found["settled"]
                assert kept in {10, 20}
                assert is_said is severity


@pytest.mark.parametrize(
    ("url", "value", "severity", "is_exposed"),
    [
        ("redis://10.0.0.1", "off", NOTICE, False),
        ("redis://:pw@10.0.0.1", "off", NOTICE, True),
        ("redis://:pw@localhost", "off", OK, False),
        ("rediss://:pw@10.0.0.1", "verified", OK, False),
        ("rediss://10.0.0.1?ssl_cert_reqs=none", "unverified", WARNING, False),
        ("rediss://:pw@10.0.0.1?ssl_cert_reqs=optional", "unverified", WARNING, True),
        ("rediss://:pw@10.0.0.1?ssl_check_hostname=0", "unverified", WARNING, True),
    ],
)
def test_who_can_read_what_is_sent_is_said(url, value, severity, is_exposed) -> None:
    tls, password = transport(readable(read_url(url)))
    assert (tls.name, tls.value, tls.severity) == ("tls", value, severity)
    assert password.value is is_exposed
    assert (password.severity is WARNING) is is_exposed
    assert "pw" not in tls.message + password.message


def documented_rights(layer: type, *, with_check: bool) -> list[str]:
    """Return the rights that the page of a layer lists, without those that it calls optional."""
    text = sys.modules[layer.__module__].__doc__ or ""
    listed = text[text.index("Rights (ACL)") :]
    groups = [" ".join(one.split()) for one in re.findall(r"`([^`]*)`", listed)]
    chosen = [one.split() for one in groups if one.startswith("+ping")][:1]
    if with_check:
        chosen += [one.split() for one in groups if one.startswith("+info")]
    return [right for one in chosen for right in one]


@pytest.mark.parametrize("with_check", [False, True])
async def test_the_rights_that_are_listed_are_enough_for_streams(private_redis, with_check) -> None:
    broker = private_redis()
    rights = documented_rights(RedisStreamsLayer, with_check=with_check)
    async with client_of(broker) as admin:
        await admin.execute_command(
            *("ACL", "SETUSER", "u", "on", ">pw", "~orders*", "~acked:*", "-@all", *rights)
        )
        url = broker.url.replace("://", "://u:pw@")
        layer = RedisStreamsLayer(url, keep_settled=0, maxlen=1000)
        async with Channel(layer) as channel:
            policy = Redelivery(dead_letter="orders.dead")
            async with channel.subscribe("orders", group="g", redelivery=policy) as sub:
                await channel.publish_many("orders", range(4))
                first, second, third, _ = [await anext(sub) for _ in range(4)]
                await first.ack()
                await second.nack()
                await third.extend(60)
                await third.reject("no")
                await (await anext(sub)).ack()
                found = {one.name: one for one in await channel.check()}
            await channel.remove_group("orders", group="g")
        news = Channel(fire_and_forget(RedisStreamsLayer(url)))
        async with news, news.subscribe("orders") as sub:
            await news.publish("orders", 1)
            assert (await anext(sub)).body == 1
        assert await admin.xlen("orders.dead") == 1
        expected = ("enough", OK) if with_check else (None, NOTICE)
        assert verdicts(found)["rights"] == expected


async def test_the_rights_that_are_listed_are_enough_for_news(private_redis) -> None:
    broker = private_redis()
    rights = documented_rights(RedisPubSubLayer, with_check=True)
    async with client_of(broker) as admin:
        await admin.execute_command(
            "ACL", "SETUSER", "u", "on", ">pw", "resetchannels", "&news*", "-@all", *rights
        )
        async with Channel(RedisPubSubLayer(broker.url.replace("://", "://u:pw@"))) as channel:
            async with channel.subscribe("news") as sub:
                await channel.publish("news", 1)
                assert (await anext(sub)).body == 1
                found = {one.name: one for one in await channel.check()}
            assert verdicts(found)["rights"] == ("enough", OK)
            await admin.execute_command("ACL", "SETUSER", "u", "-publish")
            found = {one.name: one for one in await channel.check()}
            assert "PUBLISH" in str(found["rights"].value).split()
            assert found["rights"].severity is WARNING


async def test_rights_that_are_missing_are_named(private_redis) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        rights = ("~*", "&*", "+@all", "-zadd", "-xgroup|destroy", "-eval")
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
        found = await checked(RedisStreamsLayer(broker.url.replace("://", "://u:pw@")))
        assert verdicts(found)["rights"] == ("XGROUP DESTROY ZADD EVAL", WARNING)
        assert await admin.keys("*") == []


async def test_what_only_the_order_of_keys_needs_is_asked_for_where_it_is_kept(
    private_redis,
) -> None:
    broker = private_redis()
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-hset")
        layer = RedisStreamsLayer(broker.url.replace("://", "://u:pw@"))
        async with Channel(layer) as channel:
            for ordered_by, value in ((None, "enough"), ("key", "HSET")):
                async with channel.subscribe("t", group="g", ordered_by=ordered_by):
                    found = {one.name: one.value for one in await channel.check()}
                assert found["rights"] == value
