"""Backends: made of a client or of URLs, inherited from, or an application's own."""

import logging
import ssl
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from redis.credentials import UsernamePasswordCredentialProvider

from acked import ConfigurationError, LayerError
from acked.compat.broadcaster import Broadcast
from acked.compat.broadcaster.backends.kafka import KafkaBackend
from acked.compat.broadcaster.backends.memory import MemoryBackend
from acked.compat.broadcaster.backends.redis import RedisBackend, plain_url
from acked.compat.starlette_web.common.http.exceptions import ImproperlyConfigured
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from acked.layers.redis_pubsub import url_of
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import Fragile, name, soon
from tests.fix_brokers import PrivateRedis

pytestmark = pytest.mark.anyio


# Backends


async def test_a_redis_client_lends_its_address_and_credentials(
    private_redis: PrivateRedis,
) -> None:
    broker = private_redis(password="a b/c@d")
    async with Redis.from_url(broker.url) as client:
        async with Broadcast(backend=RedisBackend(conn=client)) as broadcast:
            async with broadcast.subscribe("room") as subscriber:
                await broadcast.publish("room", "hello")
                assert await soon(subscriber) == "hello"
        assert await client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://user:a%20b%2Fc@host:7000/3",
        "redis://:secret@[::1]:7000/0",
        "rediss://host:7000/1?ssl_cert_reqs=none&ssl_check_hostname=False",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_the_url_of_a_redis_client_is_the_one_it_was_made_of(url: str) -> None:
    assert url_of(Redis.from_url(url)) == url


def test_a_redis_client_whose_credentials_change_is_refused() -> None:
    client = Redis(credential_provider=UsernamePasswordCredentialProvider("user", "secret"))
    with pytest.raises(ConfigurationError, match="fixed"):
        RedisBackend(conn=client)


def test_tls_of_a_redis_client_is_taken_over_as_the_constants_of_ssl_too() -> None:
    client = Redis(host="host", ssl=True, ssl_cert_reqs=ssl.CERT_NONE, ssl_check_hostname=False)
    assert "ssl_cert_reqs=none" in url_of(client)


@pytest.mark.parametrize(
    "option",
    [
        {"ssl_min_version": ssl.TLSVersion.TLSv1_3},
        {"ssl_ciphers": "ECDHE+AESGCM"},
        {"ssl_include_verify_flags": [ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF]},
        {"ssl_ca_data": "a certificate"},
    ],
)
def test_tls_of_a_redis_client_that_cannot_be_kept_is_refused(option: dict[str, Any]) -> None:
    (named,) = option
    with pytest.raises(ConfigurationError, match=named):
        RedisBackend(conn=Redis(host="host", ssl=True, **option))
    with pytest.raises(ImproperlyConfigured, match=named):
        RedisPubSubChannelLayer(host="host", ssl=True, **option)


@pytest.mark.parametrize("url", ["redis://h?ssl_ca_certs=/ca", "rediss://h?ssl_ciphers=ALL"])
def test_tls_in_a_url_is_used_or_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ssl_"):
        Broadcast(url)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("redis://h?db=3&protocol=3&socket_timeout=5", "redis://h/3"),
        ("redis://h/1?username=u&password=p%2Fw", "redis://u:p%2Fw@h/1"),
        (
            "rediss://u:p@h:1/2?ssl_ca_certs=/ca&max_connections=9",
            "rediss://u:p@h:1/2?ssl_ca_certs=%2Fca",
        ),
    ],
)
def test_options_for_redis_py_that_acked_has_no_use_for_are_left_out_and_logged(
    given: str, plain: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "acked.compat")
    assert plain_url(given) == plain
    assert ("its own way" in caplog.text) == ("protocol" in given or "max_connections" in given)
    assert "p%2Fw" not in caplog.text


async def test_kafka_may_be_given_by_several_urls(kafka_broker: Broker) -> None:
    backend = KafkaBackend(urls=[kafka_broker.url, kafka_broker.url])
    channel = name()
    async with Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "hello")
            assert await soon(subscriber) == "hello"


async def test_a_backend_of_ours_can_be_inherited_from_to_change_what_is_published() -> None:
    class Loud(MemoryBackend):
        async def publish(self, channel: str, message: Any) -> None:
            await super().publish(channel, message.upper())

    async with Broadcast(backend=Loud()) as broadcast:
        async with broadcast.subscribe("room") as subscriber:
            await broadcast.publish("room", "hello")
            assert await soon(subscriber) == "HELLO"


async def test_what_an_own_backend_raises_while_listening_reaches_every_subscriber() -> None:
    backend = Fragile()
    async with Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe("loft") as one, broadcast.subscribe("roof") as other:
            backend.failing.set()
            for subscriber in (one, other):
                with pytest.raises(LayerError, match="OSError: the pigeon was eaten") as caught:
                    await soon(subscriber)
                assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(LayerError, match="the pigeon was eaten"):
            async with broadcast.subscribe("loft"):
                pass


async def test_subscribers_that_come_and_go_at_once_leave_the_channel_as_it_should_be() -> None:
    class Slow(Fragile):
        async def subscribe(self, channel: str) -> None:
            await anyio.sleep(0.001)
            assert channel not in self.subscribed
            await super().subscribe(channel)

        async def unsubscribe(self, channel: str) -> None:
            await anyio.sleep(0.001)
            await super().unsubscribe(channel)

    async def come_and_go(broadcast: Broadcast, stay: float) -> None:
        with anyio.move_on_after(stay):
            async with broadcast.subscribe("loft"):
                await anyio.sleep(stay / 2)

    backend = Slow()
    async with Broadcast(backend=backend) as broadcast:
        async with anyio.create_task_group() as tasks:
            for n in range(40):
                tasks.start_soon(come_and_go, broadcast, n % 7 / 1000)
                await anyio.sleep(0.0005)
        assert backend.subscribed == []
        async with broadcast.subscribe("loft"):
            assert backend.subscribed == ["loft"]
