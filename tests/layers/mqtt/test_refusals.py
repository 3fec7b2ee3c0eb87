"""MQTT: what a broker refuses, by one that refuses on purpose."""

import socket

import anyio
import pytest

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._packets import pack_publish
from tests.layers.mqtt.kit import CONNACK, Refuser, joined, record, redirect, take

pytestmark = pytest.mark.anyio


NOT_AUTHORIZED = 0x87


async def test_a_refused_publish_raises(topic: str) -> None:
    puback = bytes([0x40, 4, 0, 1, NOT_AUTHORIZED, 0])
    with Refuser(CONNACK, puback) as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(PublishFailed, match="Not authorized") as caught:
                await layer.publish([record(topic)])
            assert not caught.value.indeterminate


async def test_a_publish_refused_for_no_reason_that_we_know_says_what_the_broker_says(
    topic: str,
) -> None:
    puback = bytes([0x40, 4, 0, 1, 0x80, 0])
    with Refuser(CONNACK, puback) as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(PublishFailed, match=r"of 4 bytes: Unspecified error$"):
                await layer.publish([record(topic)])


async def test_what_comes_to_a_publisher_unasked_disturbs_nobody(topic: str) -> None:
    unasked = pack_publish(5, b"t", b"\x00", b"x") + bytes([0x40, 2, 0, 9])
    with Refuser(CONNACK, unasked + bytes([0x40, 2, 0, 1])) as broker:
        async with MQTTLayer(broker.url) as layer:
            (receipt,) = await layer.publish([record(topic)])
            assert receipt.topic == topic


async def test_a_refused_subscription_raises(topic: str) -> None:
    suback = bytes([0x90, 5, 0, 1, 0, NOT_AUTHORIZED, 1])
    with Refuser(CONNACK) as publishing:
        async with MQTTLayer(publishing.url) as layer:
            with Refuser(CONNACK, suback) as broker:
                redirect(layer, broker)
                with pytest.raises(LayerError, match="Not authorized") as caught:
                    async with joined(layer, topic):
                        pass
                assert topic in str(caught.value)


async def test_refused_credentials_are_named_without_the_secret() -> None:
    with Refuser(bytes([0x20, 3, 0, NOT_AUTHORIZED, 0])) as broker:
        with pytest.raises(LayerError, match=r"127\.0\.0\.1:\d+ refused.*Not authorized") as caught:
            await MQTTLayer(broker.url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("granted", "words"),
    [
        (bytes([0x20, 8, 0, 0, 5, 0x11, 0, 0, 0, 0]), "keeps no sessions"),
        (bytes([0x20, 5, 0, 0, 2, 0x24, 0]), "no QoS 1"),
    ],
)
async def test_a_broker_that_cannot_owe_anything_is_refused(
    url: str, topic: str, granted: bytes, words: str
) -> None:
    async with MQTTLayer(url) as layer:
        with Refuser(granted) as broker:
            redirect(layer, broker)
            with pytest.raises(LayerError, match=words):
                async with joined(layer, topic):
                    pass


async def test_a_shorter_expiry_than_asked_for_is_a_warning(
    topic: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    granted = bytes([0x20, 8, 0, 0, 5, 0x11, 0, 0, 0, 60])
    suback = bytes([0x90, 5, 0, 1, 0, 1, 1])
    async with MQTTLayer(url) as layer:
        with Refuser(granted, suback) as broker:
            redirect(layer, broker)
            async with joined(layer, topic) as feed:
                broker.hang_up()
                with pytest.raises(ConnectionLost):
                    await take(feed, 1)
    assert "for 60 s, not for 604800 s" in caplog.text


async def test_a_busy_broker_is_worth_another_try() -> None:
    with Refuser(bytes([0x20, 3, 0, 0x89, 0])) as broker:
        with pytest.raises(ConnectionLost):
            await MQTTLayer(broker.url).__aenter__()


async def test_a_server_that_says_nothing_is_a_lost_connection() -> None:
    with Refuser() as broker:
        with (
            anyio.fail_after(5),
            pytest.raises(ConnectionLost, match=r"did not answer.*no MQTT broker"),
        ):
            await MQTTLayer(broker.url, timeout=0.2).__aenter__()


async def test_no_server_is_a_lost_connection_that_names_the_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{port}") as caught:
        await MQTTLayer(f"mqtt://user:secret@127.0.0.1:{port}").__aenter__()
    assert "secret" not in str(caught.value)
