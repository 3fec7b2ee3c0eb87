"""MQTT: what a record becomes on the way, and what comes from elsewhere."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked.abc import AckLayer
from acked.errors import PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.types import Outcome, Record, Settlement, Verb
from tests.layers.mqtt.kit import (
    acks,
    bodies,
    broker_has_read,
    feed_at,
    foreign_client,
    record,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


def test_the_layer_is_an_ack_layer() -> None:
    assert isinstance(MQTTLayer(), AckLayer)


async def test_every_part_of_a_record_arrives(url: str, topic: str) -> None:
    headers = {
        "plain": "ü😀",
        "acked:id": "not the id",
        "u:x": "%41",
        "line\nfeed": "\x00\x01\x7f\x85",
        "": "",
        "\x00": "\ufffe",
        "percent": "%0A",
        "\ufeff": "\ufeff",
    }
    sent = [
        Record(topic, bytes(range(256)), "id 1", "key", headers, "text/plain", 12.5),
        Record(topic, b"", "id\n2", "k\ney", {}, "a\x01b", 0.1),
        Record(topic, b"x" * 1_000_000, "id 3"),
    ]
    async with feed_at(url, topic) as (layer, feed):
        receipts = await layer.publish(sent)
        assert [(one.id, one.topic, one.position) for one in receipts] == [
            (one.id, topic, "") for one in sent
        ]
        got = await take(feed, 3)
        assert [one.record for one in got] == sent
        assert [one.attempt for one in got] == [1, 1, 1]
        assert await feed.settle(acks(got)) == [Outcome.SENT] * 3


async def test_a_foreign_message_arrives_with_an_id_and_its_user_properties(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (_, feed):
        with foreign_client(url) as client:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("unit", "celsius"), ("u:a", "%41")]
            properties.ContentType = "text/plain"
            client.publish(topic, b"21", qos=1, properties=properties).wait_for_publish(10)
            client.publish(topic, b"22", qos=1).wait_for_publish(10)
        first, second = await take(feed, 2)
        assert first.record.headers == {"unit": "celsius", "u:a": "%41"}
        assert first.record.content_type == "text/plain"
        assert first.record.id
        assert second.record.id not in {"", first.record.id}
        assert (second.record.body, second.record.headers) == (b"22", {})
        await feed.settle(acks([first, second]))


async def test_a_foreign_message_that_imitates_ours_does_not_stop_the_feed(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (_, feed):
        with foreign_client(url) as client:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [
                ("acked:id", ""),
                ("acked:timestamp", "nan"),
                ("acked:new", "?"),
                ("u:x", "%ff%"),
            ]
            client.publish(topic, b"1", qos=1, properties=properties).wait_for_publish(10)
        (leased,) = await take(feed, 1)
        assert leased.record.id
        assert leased.record.timestamp > 0
        assert leased.record.headers == {"x": "\ufffd%"}
        assert await feed.settle(acks([leased])) == [Outcome.SENT]


async def test_a_qos_0_message_is_delivered_with_nothing_to_acknowledge(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with foreign_client(url) as client:
            client.publish(topic, b"0", qos=0).wait_for_publish(10)
            (leased,) = await take(feed, 1)
        (nacked,) = [Settlement(leased.token, Verb.NACK)]
        assert await feed.settle([nacked]) == [Outcome.SENT]
        (again,) = await take(feed, 1)
        assert (again.record.body, again.attempt) == (b"0", 2)
        assert await feed.settle(acks([again])) == [Outcome.SENT]
        assert await feed.settle(acks([again])) == [Outcome.LOST]
        assert layer.dropped == 0


async def test_qos_0_messages_that_nobody_takes_are_bounded_and_counted(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic, in_flight=3) as (layer, feed):
        with foreign_client(url) as client:
            for number in range(10):
                client.publish(topic, str(number), qos=0)
            client.publish(topic, b"last", qos=1).wait_for_publish(10)
        await broker_has_read(feed)
        assert layer.dropped == 7
        assert bodies(await take(feed, 4)) == ["0", "1", "2", "last"]


async def test_a_retained_message_of_before_is_not_delivered(url: str, topic: str) -> None:
    with foreign_client(url) as client:
        client.publish(topic, b"old", qos=1, retain=True).wait_for_publish(10)
        assert await what_is_owed(url, topic) == []
        client.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)


async def test_a_string_that_is_too_long_for_mqtt_fails_alone(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        batch = [record(topic, 0), record(topic, 1, key="k" * 70_000), record(topic, 2)]
        with pytest.raises(PublishFailed, match="65535") as caught:
            await layer.publish(batch)
        assert list(caught.value.failures) == [1]
        assert not caught.value.indeterminate
        assert bodies(await take(feed, 2)) == ["0", "2"]
