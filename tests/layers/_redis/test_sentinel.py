"""A master that sentinels watch: found by its name, and followed when another one takes over."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import redis
from anyio import to_thread

from acked import Channel
from acked.errors import ConfigurationError, ConnectionLost, LayerError, PublishFailed
from acked.layers._redis.sentinel import Sentinels
from acked.layers._redis.urls import RedisUrl
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from tests.layers.redis_pubsub_kit import RECONNECTED, Recorder, until
from tests.layers.redis_streams.kit import fresh, port_of_nobody

pytestmark = pytest.mark.anyio

NAME = "boss"


@pytest.fixture
def watched(private_redis, tmp_path) -> Iterator[tuple[str, object, object]]:
    """A master, its replica, and a sentinel that promotes it: the sentinel's address and both."""
    master, replica, port = private_redis(), private_redis(), port_of_nobody()
    with redis.Redis.from_url(replica.url) as admin:
        admin.replicaof("127.0.0.1", str(master.port))
        while admin.info("replication")["master_link_status"] != "up":
            time.sleep(0.02)
    sentinel = start_sentinel(tmp_path, port, master.port)
    with redis.Redis(port=port) as asking:
        while not knows(asking, "num-slaves"):
            time.sleep(0.05)
    yield f"127.0.0.1:{port}", master, replica
    stop(sentinel)


def start_sentinel(folder: Path, port: int, of: int) -> subprocess.Popen[bytes]:
    path = folder / f"sentinel-{port}.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {NAME} 127.0.0.1 {of} 1\n"
        f"sentinel down-after-milliseconds {NAME} 300\n"
        f"sentinel failover-timeout {NAME} 2000\n"
    )
    words = ["redis-server", str(path), "--sentinel"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def knows(asking: redis.Redis, what: str) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return asking.sentinel_master(NAME)[what] == 1
    return False


async def test_streams_follow_the_master(watched) -> None:
    sentinel, master, replica = watched
    topic = fresh("watched")
    url = f"redis-streams://{sentinel}?sentinel={NAME}&timeout=2"
    async with Channel.from_url(url) as channel:
        async with channel.subscribe(topic, group="g") as sub:
            await channel.publish(topic, "before")
            await (await anext(sub)).ack()
            assert channel.layer.client.connection_pool.connection_kwargs["port"] == master.port
            await anyio.sleep(0.2)  # the replica has it
            await to_thread.run_sync(master.kill)
            with anyio.fail_after(60):
                while True:
                    with contextlib.suppress(PublishFailed):
                        await channel.publish(topic, "after")
                        break
                    await anyio.sleep(0.1)
                delivery = await anext(sub)
            assert delivery.body == "after"
            await delivery.ack()
            assert channel.layer.client.connection_pool.connection_kwargs["port"] == replica.port


async def test_news_follow_the_master(watched) -> None:
    sentinel, master, _ = watched
    topic = fresh("watched")
    layer = RedisPubSubLayer.from_url(f"redis-pubsub://{sentinel}?sentinel={NAME}&timeout=2")
    async with layer, layer.listen([topic], sink := Recorder()):
        async with Channel(layer_of(sentinel)) as channel:
            await channel.publish(topic, b"before")
            await until(lambda: len(sink.told) == 1)
            await to_thread.run_sync(master.kill)
            with anyio.fail_after(60):
                while RECONNECTED not in sink.told:
                    await anyio.sleep(0.1)
                while True:
                    with contextlib.suppress(PublishFailed):
                        await channel.publish(topic, b"after")
                        break
                    await anyio.sleep(0.1)
            await until(lambda: len(sink.told) == 3)


def layer_of(sentinel: str) -> RedisPubSubLayer:
    return RedisPubSubLayer(f"redis://{sentinel}", sentinel=NAME, timeout=2)


async def test_another_sentinel_is_asked_and_without_any_the_master_stays(
    private_redis, tmp_path
) -> None:
    master, ports = private_redis(), [port_of_nobody(), port_of_nobody()]
    sentinels = [start_sentinel(tmp_path, port, master.port) for port in ports]
    with redis.Redis(port=ports[0]) as asking:
        while not await to_thread.run_sync(knows, asking, "num-other-sentinels"):
            await anyio.sleep(0.1)
    layer = RedisStreamsLayer(f"redis://127.0.0.1:{ports[0]}", sentinel=NAME, timeout=2)
    async with Channel(layer) as channel:
        topic = fresh("watched")
        for number in range(3):
            async with channel.subscribe(topic, group="g") as sub:
                await channel.publish(topic, number)
                delivery = await anext(sub)
                assert delivery.body == number
                await delivery.ack()
            if sentinels:
                stop(sentinels.pop(0))


async def test_what_is_wrong_with_a_sentinel_is_said(watched) -> None:
    sentinel, *_ = watched
    with pytest.raises(LayerError, match="knows no master 'nobody'"):
        async with RedisStreamsLayer(f"redis://{sentinel}", sentinel="nobody"):
            pass
    with pytest.raises(ConnectionLost, match="no connection to Redis at 127"):
        async with RedisStreamsLayer(f"redis://127.0.0.1:{port_of_nobody()}", sentinel=NAME):
            pass


async def test_what_is_no_sentinel_says_so_and_no_master_is_known(private_redis) -> None:
    broker = private_redis()
    with pytest.raises(LayerError, match="answered with an error: unknown command") as caught:
        async with RedisStreamsLayer(broker.url, sentinel=NAME):
            pass
    assert not isinstance(caught.value, ConnectionLost)
    with pytest.raises(ConnectionLost, match="no master is known"):
        _ = Sentinels(RedisUrl(broker.url, {}), NAME, timeout=1.0, connections=1).client


async def test_a_master_is_checked_as_any_server_is(watched) -> None:
    sentinel, master, _ = watched
    async with Channel(RedisStreamsLayer(f"redis://{sentinel}", sentinel=NAME)) as channel:
        found = {one.name: one.value for one in await channel.check()}
    assert (found["server_version"], found["replicas"]) == (master.version, 1)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        RedisStreamsLayer("redis://h", cluster=True, sentinel=NAME)
    with pytest.raises(ConfigurationError, match="not both"):
        RedisPubSubLayer.from_url(f"redis-pubsub://h?sharded=1&sentinel={NAME}")
    for url, name in (("unix:///run/redis.sock", NAME), ("redis://h", "")):
        with pytest.raises(ConfigurationError, match="name of a master"):
            RedisStreamsLayer(url, sentinel=name)


def test_a_sentinel_is_asked_without_the_masters_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        async def ask() -> None:
            url = f"redis://user:xylophone@127.0.0.1:{port}/3"
            with pytest.raises(ConnectionLost):
                async with RedisStreamsLayer(url, sentinel=NAME, timeout=0.3):
                    pass

        anyio.run(ask)
        listening.settimeout(5)
        accepted, _ = listening.accept()
        with accepted:
            heard = accepted.recv(10_000)
    assert b"xylophone" not in heard
    assert b"SELECT" not in heard
