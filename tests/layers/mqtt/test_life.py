"""MQTT: opening, closing, and what a URL may say."""

import time

import anyio
import pytest

from acked import Channel
from acked.conformance.laws.lifecycle import alive, nothing_is_left
from acked.errors import CapabilityError, ConfigurationError, LayerError
from acked.layers.mqtt import MQTTLayer
from acked.types import Start
from tests.layers.mqtt.kit import Refuser, acks, feed_at, joined, record, take

pytestmark = pytest.mark.anyio


async def test_nothing_is_left_after_closing(url: str, topic: str) -> None:
    before = alive()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            async with feed_at(url, topic) as (layer, feed):
                await layer.publish([record(topic)])
                await feed.settle(acks(await take(feed, 1)))
                scope.cancel()
                await anyio.sleep_forever()
    await nothing_is_left(before, within=10)


async def test_cancelling_while_connecting_leaves_nothing() -> None:
    before = alive()
    with Refuser() as broker:
        with anyio.move_on_after(0.2):
            await MQTTLayer(broker.url).__aenter__()
    await nothing_is_left(before, within=10)


async def test_an_idle_subscription_takes_under_a_hundredth_of_a_core(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url, keepalive=1)) as channel:
        async with channel.subscribe(topic, group="group") as sub:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anext, sub)
                    await anyio.sleep(0.5)
                    wall, cpu = time.perf_counter(), time.process_time()
                    await anyio.sleep(5)
                    taken = (time.process_time() - cpu) / (time.perf_counter() - wall)
                    scope.cancel()
    assert taken < 0.01


async def test_a_layer_can_be_opened_again_and_refuses_while_closed(url: str, topic: str) -> None:
    layer = MQTTLayer(url, mandatory=False)
    for _ in range(2):
        with pytest.raises(LayerError, match="not open"):
            await layer.publish([record(topic)])
        with pytest.raises(LayerError, match="not open"):
            async with joined(layer, topic):
                pass
        with pytest.raises(LayerError, match="not open"):
            _ = layer.client
        async with layer:
            await layer.publish([record(topic)])
            assert layer.client.is_connected()
            assert repr(layer).endswith(", open>")
        await layer.__aexit__(None, None, None)  # again: a no-op
    assert repr(layer).endswith(", closed>")


async def test_what_mqtt_cannot_do_is_refused(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with pytest.raises(CapabilityError):
            await feed.extend([], 1.0)
        with pytest.raises(CapabilityError):
            await feed.release([])
        with pytest.raises(CapabilityError):
            async with layer.consume([topic], "other", in_flight=1, lease=1.0, start=Start.at(0.0)):
                pass


def test_a_url_says_everything_the_arguments_say() -> None:
    layer = MQTTLayer.from_url(
        "mqtt://user:p%40ss@broker:1884?client_id=shop&session_expiry=60&shared=true&keepalive=5"
    )
    assert layer._address == ("mqtt", "broker", 1884, "user", "p@ss")
    assert (layer._client_ids._prefix, layer._session_expiry, layer._is_shared) == (
        "shop",
        60,
        True,
    )
    assert repr(layer) == "<MQTTLayer mqtt://broker:1884, closed>"
    assert MQTTLayer.from_url("mqtts://broker")._address.port == 8883
    assert MQTTLayer.from_url("mqtt://[::1]")._address.host == "::1"


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://h?colour=red",
        "mqtt://h?shared=yes",
        "mqtt://h?shared=true",
        "mqtt://h?session_expiry=0",
        "mqtt://h?session_expiry=4294967296",
        "mqtt://h?keepalive=0",
        "mqtt://h?keepalive=x",
        "mqtt://h?timeout=0",
        "mqtt://h?timeout=soon",
        "mqtt://h?client_id=a/b",
        "mqtt://h?client_id=",
        "mqtt://h?ca_certs=/x",
        "mqtts://h?ca_certs=/no/such/file",
        "mqtts://h?ca_certs=",
        "mqtt://h?ca_certs=",
        "mqtts://h?keyfile=/x",
        "mqtt://h?timeout=inf",
        "mqtt://h?retained=true&shared=true&client_id=x",
        "mqtt://h:port",
        "mqtt://h/path",
        "http://h",
    ],
)
def test_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        MQTTLayer.from_url(url)
