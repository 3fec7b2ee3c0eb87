"""Redis pub/sub: opening, closing, and what a URL may say."""

import asyncio

import anyio
import pytest
import trio
from anyio import fail_after, to_thread

from acked import (
    CapabilityError,
    Channel,
    ConfigurationError,
    ConnectionLost,
    LayerError,
    PublishFailed,
)
from acked.layers.redis_pubsub import RedisPubSubLayer
from compose.native.process import free_ports
from tests.layers.redis_pubsub_kit import SOON, Recorder, connections_to, tasks, until

pytestmark = pytest.mark.anyio


async def test_nothing_is_left_after_closing(private_redis, topic) -> None:
    broker, before = private_redis(), tasks()
    channel = Channel(RedisPubSubLayer(broker.url))
    for _ in range(3):
        async with channel:
            async with channel.subscribe(topic) as sub, anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(channel.publish, topic, b"x")
                with fail_after(SOON):
                    assert (await anext(sub)).body == b"x"
            assert connections_to(broker.port) > 0
        assert tasks() == before
        await until(lambda: connections_to(broker.port) == 0)


async def test_closing_does_not_wait_for_a_dead_server(redis_broker, proxy, topic) -> None:
    between, before = proxy(redis_broker), tasks()
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic):
            await to_thread.run_sync(between.refuse)
            await to_thread.run_sync(between.cut)
            with pytest.raises(PublishFailed):
                await channel.publish(topic, b"x")
        closing = anyio.current_time()
    assert anyio.current_time() - closing < 2
    assert tasks() == before


async def test_an_entered_layer_may_be_left_by_another_task(redis_broker, topic) -> None:
    layer, before = RedisPubSubLayer(redis_broker.url), tasks()
    await asyncio.create_task(layer.__aenter__())
    async with layer.listen([topic.name], Recorder()):
        pass
    await asyncio.create_task(layer.__aexit__(None, None, None))
    assert tasks() == before


async def test_nobody_there_is_said_when_opening() -> None:
    (port,) = free_ports(1)
    with pytest.raises(
        ConnectionLost, match=f"no connection to Redis at localhost:{port} "
    ) as caught:
        async with Channel(RedisPubSubLayer(f"redis://me:hidden@localhost:{port}")):
            pass
    assert "hidden" not in str(caught.value)


async def test_a_silent_server_is_said_when_opening(redis_broker, proxy) -> None:
    between = proxy(redis_broker)
    between.black_hole()
    with pytest.raises(ConnectionLost, match=r"no answer within 0\.2 s"):
        async with Channel(RedisPubSubLayer(between.url, timeout=0.2)):
            pass


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_said_when_opening(private_redis, login) -> None:
    broker, before = private_redis(password="right"), tasks()
    url = f"redis://{login}127.0.0.1:{broker.port}"
    with pytest.raises(LayerError, match=f"127.0.0.1:{broker.port} refuses us") as caught:
        async with Channel(RedisPubSubLayer(url)):
            pass
    assert not isinstance(caught.value, ConnectionLost)
    assert "wrong" not in str(caught.value)
    assert tasks() == before
    await until(lambda: connections_to(broker.port) == 0)


async def test_the_right_password_opens(private_redis, topic) -> None:
    broker = private_redis(password="right")
    async with Channel(
        RedisPubSubLayer.from_url(broker.url.replace("redis:", "redis-pubsub:"))
    ) as c:
        async with c.subscribe(topic) as sub:
            await c.publish(topic, b"x")
            with fail_after(SOON):
                assert (await anext(sub)).body == b"x"
        assert "right" not in repr(c)


async def test_a_layer_that_is_left_while_somebody_listens_leaves_no_connection(
    private_redis,
) -> None:
    broker = private_redis()
    async with RedisPubSubLayer(broker.url) as layer:
        async with layer.listen(["news"], Recorder()):
            await layer.__aexit__(None, None, None)
            await until(lambda: connections_to(broker.port) == 0)
        await layer.__aexit__(None, None, None)  # again: a no-op


def test_trio_is_refused_with_what_to_do() -> None:
    async def enter() -> None:
        async with Channel(RedisPubSubLayer()):
            pass

    with pytest.raises(CapabilityError, match="runs on asyncio only; start with"):
        trio.run(enter)


# URLs


def test_a_url_names_the_server_and_the_options() -> None:
    layer = RedisPubSubLayer.from_url("redis-pubsub://u:p@h:1/2?heartbeat=5&on_loss=raise")
    assert repr(layer) == "<RedisPubSubLayer at h:1, listens to: nothing>"
    layer = RedisPubSubLayer.from_url("rediss-pubsub://h?ssl_cert_reqs=none&timeout=3")
    assert repr(layer) == "<RedisPubSubLayer at h:6379, listens to: nothing>"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis-pubsub://h?hartbeat=5", "unknown option 'hartbeat'"),
        ("redis-pubsub://h?socket_timeout=5", "unknown option 'socket_timeout'"),
        ("redis-pubsub://h?heartbeat=often", "'heartbeat' must be a number"),
        ("redis-pubsub://h?heartbeat=0", "above 0"),
        ("redis-pubsub://h?on_loss=ignore", "on_loss='ignore': say"),
        ("redis-pubsub://h/zero", "no number of a database"),
        ("http://h", "'http' is no scheme"),
        ("redis-pubsub://:hid/den@h", "percent-encode"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url, words) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisPubSubLayer.from_url(url)
    assert "hid" not in str(caught.value)


def test_a_layer_refuses_its_options_in_the_plain_url() -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'heartbeat'"):
        RedisPubSubLayer("redis://h?heartbeat=5")
