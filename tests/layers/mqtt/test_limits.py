"""MQTT: what a real broker refuses for its configuration, by words that name the cause."""

import anyio
import pytest

from acked import Channel, Severity
from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._expectations import TOPICS_REMEMBERED, Expectations
from tests.layers.mqtt.kit import (
    CONNACK,
    Refuser,
    acks,
    bodies,
    feed_at,
    joined,
    mosquitto,
    record,
    redirect,
    take,
)

pytestmark = pytest.mark.anyio


async def test_a_message_over_mosquittos_size_limit_is_refused_by_its_name(topic: str) -> None:
    with mosquitto("message_size_limit 1000") as broker:
        async with feed_at(broker.url, topic) as (layer, feed):
            with pytest.raises(PublishFailed, match=r"1001 bytes: Packet too large") as caught:
                await layer.publish([record(topic, "x" * 1_001)])
            (why,) = caught.value.failures.values()
            assert "message_size_limit" in str(why)
            assert not isinstance(why, ConnectionLost)
            assert not caught.value.indeterminate
            # Mosquitto hangs up over it: its neighbours are not told of a lost connection only.
            batch = [record(topic, "x" * 1_001), record(topic, "neighbour")]
            with pytest.raises(PublishFailed) as caught:
                await layer.publish(batch)
            assert caught.value.indeterminate
            assert isinstance(caught.value.failures[1], ConnectionLost)
            assert "after a message had been refused" in str(caught.value.failures[1])
            await layer.publish([record(topic, "fits")])
            assert bodies(await take(feed, 1)) == ["fits"]


async def test_a_topic_that_may_not_be_written_is_refused_by_its_name(tmp_path, topic: str) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o600)
    with mosquitto(f"acl_file {acl}") as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(
                PublishFailed, match=r"Not authorized; check what this user may write"
            ):
                await layer.publish([record(topic)])


@pytest.mark.parametrize(
    "connack", [bytes([0x20, 2, 0, 1]), bytes([0x20, 3, 0, 0x84, 0])], ids=["of 3.1.1", "of 5"]
)
async def test_a_broker_without_mqtt_5_is_named_as_such(connack: bytes) -> None:
    with Refuser(connack) as broker:
        with pytest.raises(LayerError, match="needs MQTT 5") as caught:
            await MQTTLayer(broker.url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words", "may_pass"),
    [
        (0x95, "Packet too large", False),
        (0x87, "Not authorized", False),
        (0x8B, "Server shutting down", True),
        (0x98, "Administrative action", True),
        (0x00, "reason code 0x00", True),
    ],
)
async def test_a_connection_that_the_broker_ends_says_why(
    url: str, topic: str, code: int, words: str, may_pass: bool
) -> None:
    suback = bytes([0x90, 5, 0, 1, 0, 1, 1])
    reason = b"too\x1b[31m much"
    properties = bytes([0x1F, 0, len(reason)]) + reason
    bye = bytes([0xE0, 2 + len(properties), code, len(properties)]) + properties
    async with MQTTLayer(url) as layer:
        with Refuser(CONNACK, suback + bye) as broker:
            redirect(layer, broker)
            async with joined(layer, topic) as feed:
                with pytest.raises(LayerError, match=f"ended the connection: {words}") as caught:
                    await take(feed, 1)
    assert caught.value.may_pass is may_pass
    assert "\x1b" not in str(caught.value)
    assert "too" in str(caught.value)


async def test_a_topic_that_may_not_be_read_is_found_out(
    tmp_path, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Mosquitto grants the subscription, accepts what is published, and delivers nothing."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite $SYS/#\ntopic readwrite open/#\ntopic write closed/#\n")
    acl.chmod(0o600)
    with mosquitto(f"acl_file {acl}") as broker:
        async with Channel(MQTTLayer(broker.url, timeout=0.5)) as channel:
            names = f"open/{topic}", f"closed/{topic}"
            async with channel.subscribe(*names, group="g") as sub:
                for name in names:
                    await channel.publish(name, 1)
                with anyio.fail_after(10):
                    async with anyio.create_task_group() as tasks:
                        await (await anext(sub)).ack()
                        tasks.start_soon(anext, sub)
                        while not caplog.records:
                            await anyio.sleep(0.02)
                        tasks.cancel_scope.cancel()
                (found,) = [one for one in await channel.check() if one.name == "unheard_topics"]
    (said,) = caplog.records
    assert f"'closed/{topic}'" in said.getMessage()
    assert "may read" in said.getMessage()
    assert found.severity is Severity.WARNING
    assert found.value == repr(f"closed/{topic}")


async def test_what_the_broker_keeps_back_is_no_topic_that_may_not_be_read(
    url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends one message beyond those unsettled, of whatever topic."""
    names = f"{topic}/1", f"{topic}/2"
    async with MQTTLayer(url, timeout=0.2) as layer, joined(layer, *names, in_flight=1) as feed:
        for name in names:
            await layer.publish([record(name)])
        held = await take(feed, 1)
        with anyio.move_on_after(0.6):
            await feed.receive(1)
        assert not feed.unheard
        await feed.settle(acks(held))
        await feed.settle(acks(await take(feed, 1)))
    assert not caplog.records


def test_of_many_topics_the_last_that_were_heard_are_remembered() -> None:
    expectations = Expectations(1.0)
    topics = [str(n) for n in range(TOPICS_REMEMBERED + 1)]
    for topic in topics:
        expectations.arrive(topic)
    assert not expectations.publish(topics[-1], 0.0)
    assert expectations.publish(topics[0], 0.0)
    assert expectations.take_overdue(1.0) == [topics[0]]


async def test_what_waits_behind_a_held_message_is_no_topic_that_may_not_be_read(
    url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = f"{topic}/1", f"{topic}/2"
    async with Channel(MQTTLayer(url, timeout=1.0)) as channel:
        async with channel.subscribe(*names, group="g", in_flight=1) as sub:
            for name in names:
                await channel.publish(name, name)
            first = await anext(sub)
            with anyio.move_on_after(3.2):
                await anext(sub)
            await first.ack()
            with anyio.fail_after(10):
                await (await anext(sub)).ack()
    assert not caplog.records
