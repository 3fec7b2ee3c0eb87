"""Options of the layers: what each driver takes, and what is refused at once."""

import aiomqtt
import anyio
import asyncpg
import pytest

from acked.compat.starlette_web.common.channels.base import Channel, Event
from acked.compat.starlette_web.common.http.exceptions import (
    ImproperlyConfigured,
    NotSupportedError,
)
from acked.compat.starlette_web.contrib.mqtt import MQTTChannelLayer
from acked.compat.starlette_web.contrib.postgres.channel_layers import PostgreSQLChannelLayer
from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer
from compose.lifecycle import Broker
from tests.compat.scenarios import _layers
from tests.compat.starlette_web_kit import SOON, name, read

pytestmark = pytest.mark.anyio


# 5: options of the layers


def test_options_that_cannot_be_are_said_at_once() -> None:
    with pytest.raises(ImproperlyConfigured):
        RedisPubSubChannelLayer(hots="localhost")
    with pytest.raises(ImproperlyConfigured, match="on_loss"):
        RedisPubSubChannelLayer(on_loss="pray")  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured, match="sslmode"):
        PostgreSQLChannelLayer(host="localhost", ssl=object())
    with pytest.raises(ImproperlyConfigured):
        MQTTChannelLayer(keepalive=-1)
    with pytest.raises(ImproperlyConfigured, match=r"version=3.*3\.1\.1"):
        MQTTChannelLayer(version=3)


@pytest.mark.parametrize("option", ["tls_version", "ciphers", "ssl_context", "cert_reqs"])
def test_an_option_of_tls_that_cannot_be_kept_is_refused(option: str) -> None:
    for kind in (MQTTChannelLayer, PostgreSQLChannelLayer, RedisPubSubChannelLayer):
        with pytest.raises(ImproperlyConfigured, match=option):
            kind(host="localhost", ssl=True, **{option: "anything"})


@pytest.mark.parametrize("version", [5, 4])
async def test_a_new_subscription_begins_with_what_is_retained(
    mqtt_broker: Broker, version: int
) -> None:
    topic, parts = name(), _layers.options(mqtt_broker.url)
    async with Channel(MQTTChannelLayer(**parts, version=version)) as channel:
        await channel.publish(topic, "kept", qos=1, retain=True)
        async with channel.subscribe(topic) as subscriber:
            assert await read(subscriber, 1) == ["kept"]
        await channel.publish(topic, b"", qos=1, retain=True)


@pytest.mark.parametrize("by", ["dsn", "options"])
async def test_postgres_takes_what_asyncpg_takes(postgres_broker: Broker, by: str) -> None:
    given = (
        {"dsn": postgres_broker.url} if by == "dsn" else _layers.options(postgres_broker.url)
    ) | {"server_settings": {"application_name": "by name"}, "command_timeout": 5}
    group = name()
    async with Channel(PostgreSQLChannelLayer(**given)) as channel:
        async with channel.subscribe(group) as subscriber:
            await channel.publish(group, "x" * 7999)
            assert await read(subscriber, 1) == ["x" * 7999]
            with pytest.raises(NotSupportedError, match="8000"):
                await channel.publish(group, "ü" * 4000)
            with pytest.raises(NotSupportedError, match="not dict"):
                await channel.publish(group, {})
            connection = await asyncpg.connect(postgres_broker.url)
            found = await connection.fetchval(
                "select count(*) from pg_stat_activity where application_name = 'by name'"
            )
            await connection.execute("select pg_notify($1, 'from psql')", group)
            assert await read(subscriber, 1) == ["from psql"]
            await connection.close()
    assert found >= 2


def test_an_address_is_named_without_the_password() -> None:
    options = {"host": "db.example", "port": 5433, "user": "ann", "password": "s3cr/t"}
    layers = (
        PostgreSQLChannelLayer(**options, database="shop", passfile="/none", ssl=False),
        PostgreSQLChannelLayer(dsn="postgresql://ann:s3cr%2Ft@db.example:5433/shop", ssl="require"),
        MQTTChannelLayer(host="db.example", port=5433, username="ann", password="s3cr/t", ssl=True),
    )
    for layer in layers:
        words = repr(layer._channel)
        assert "db.example" in words
        assert "5433" in words
        assert "s3cr" not in words


def test_several_hosts_and_sockets_have_a_place_in_the_address() -> None:
    several = PostgreSQLChannelLayer(host=["a", "::1"], port=[1, 2], database="shop")
    assert "a:1" in repr(several._channel)
    socket = PostgreSQLChannelLayer(host="/run/postgres", database="shop")
    assert "run" in repr(socket._channel)


@pytest.mark.parametrize("version", [5, 4])
async def test_mqtt_honours_qos_retain_and_filters(mqtt_broker: Broker, version: int) -> None:
    root = name()
    options = _layers.options(mqtt_broker.url) | {"version": version}
    layer = MQTTChannelLayer(**options, client_id="mine", clean_session=True, keepalive=30)
    async with Channel(layer) as channel:
        async with channel.subscribe(f"{root}/+", 100) as plus, channel.subscribe(f"{root}/#"):
            seen = await _seen_by_another(mqtt_broker, f"{root}/#", channel, root)
            assert await read(plus, 3) == [{"qos": 0}, {"qos": 1}, {"qos": 2}]
            await channel.publish(f"{root}/a/b", "deeper")
            await channel.publish(f"{root}/last", b"\xff")
            with anyio.fail_after(SOON):
                assert await anext(plus) == Event(f"{root}/last", b"\xff")
    assert seen == [0, 1, 2]


async def _seen_by_another(
    broker: Broker, topic_filter: str, channel: Channel, root: str
) -> list[int]:
    """Publish with each QoS; return those with which another client received."""
    parts = _layers.options(broker.url)
    async with aiomqtt.Client(parts["host"], parts["port"]) as client:
        await client.subscribe(topic_filter, qos=2)
        for qos in (0, 1, 2):
            await channel.publish(f"{root}/{qos}", {"qos": qos}, qos=qos)
        seen: list[int] = []
        with anyio.fail_after(SOON):
            async for message in client.messages:
                seen.append(message.qos)
                if len(seen) == 3:
                    break
    return seen


async def test_what_is_retained_stays_for_other_clients(mqtt_broker: Broker) -> None:
    topic, parts = name(), _layers.options(mqtt_broker.url)
    async with Channel(MQTTChannelLayer(**parts)) as channel:
        await channel.publish(topic, "kept", qos=1, retain=True)
    async with aiomqtt.Client(parts["host"], parts["port"]) as client:
        await client.subscribe(topic)
        with anyio.fail_after(SOON):
            message = await anext(aiter(client.messages))
        assert message.payload == b"kept"
        assert message.retain
        await client.publish(topic, None, retain=True)
