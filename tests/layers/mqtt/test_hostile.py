"""MQTT: whatever is on the wire, a consumer goes on."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked import Channel, Redelivery
from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._ownership import MARKS
from acked.layers.mqtt._packets import (
    Arrival,
    header_of,
    pack_properties,
    pack_publish,
    read_properties,
    read_puback,
    read_publish,
)
from acked.layers.mqtt._records import CORRELATION_DATA, RESPONSE_TOPIC, properties_of, record_of
from acked.types import Record
from tests.layers.mqtt.kit import (
    CONNACK,
    Refuser,
    acks,
    bodies,
    feed_at,
    foreign_client,
    joined,
    record,
    redirect,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


def publish(client: Client, topic: str, body: bytes, **named: object) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in named.items():
        setattr(properties, name, value)
    client.publish(topic, body, qos=1, properties=properties).wait_for_publish(10)


@contextmanager
def marks_under_fire(url: str) -> Iterator[Client]:
    """Somebody who publishes to each topic that a mark may be of."""
    with foreign_client(url) as client:
        for mark in MARKS:
            publish(client, mark, b"{")
        yield client


async def test_what_is_published_to_the_marks_is_no_delivery(
    url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with caplog.at_level(logging.WARNING, "acked.mqtt"), marks_under_fire(url):
            await layer.publish([record(topic, "ours")])
            got = await take(feed, 1)
            assert [(one.record.topic, one.record.body) for one in got] == [(topic, b"ours")]
            await feed.settle(acks(got))
    assert await what_is_owed(url, topic) == []
    (said,) = caplog.records
    assert "'acked/seat/" in said.getMessage()


async def test_what_is_published_to_the_marks_stops_no_reader_with_dead_letters(
    url: str, topic: str
) -> None:
    redelivery = Redelivery(max_deliveries=3, dead_letter=f"{topic}-dead")
    async with Channel(MQTTLayer(url)) as channel:
        async with (
            channel.subscribe(f"{topic}-dead", group="dead") as dead,
            channel.subscribe(topic, group="group", redelivery=redelivery) as sub,
        ):
            with marks_under_fire(url):
                await channel.publish(topic, 1)
                await channel.publish(f"{topic}-dead", "the first")
            with anyio.fail_after(10):
                delivery = await anext(sub)
                assert (delivery.topic, delivery.body) == (topic, 1)
                await delivery.ack()
                letter = await anext(dead)
                assert letter.body == "the first"
                await letter.ack()


async def test_what_is_set_aside_is_acknowledged_in_its_turn(url: str, topic: str) -> None:
    """A broker may send it with QoS 1 all the same, or for a filter of another version of ours."""
    async with feed_at(url, topic, in_flight=2) as (layer, feed):
        await feed._connection.subscribe([f"{topic}-other"])  # type: ignore[attr-defined]
        for n in range(5):
            await layer.publish([record(f"{topic}-other"), record(topic, n)])
        for n in range(5):
            got = await take(feed, 1)
            assert bodies(got) == [str(n)]
            await feed.settle(acks(got))
    assert await what_is_owed(url, topic) == []


async def test_a_property_that_paho_cannot_read_ends_nothing(url: str, topic: str) -> None:
    """MQTT allows U+FEFF, paho does not."""
    async with feed_at(url, topic) as (layer, feed):
        with foreign_client(url) as client:
            publish(client, topic, b"1", UserProperty=[("mark", "\ufeff"), ("\ufeff", "x")])
        await layer.publish([record(topic, 2)])
        got = await take(feed, 2)
        assert bodies(got) == ["1", "2"]
        assert got[0].record.headers == {"mark": "\ufeff", "\ufeff": "x"}
        await feed.settle(acks(got))
    assert await what_is_owed(url, topic) == []


async def test_of_a_flood_of_properties_the_first_thousand_are_read(url: str, topic: str) -> None:
    """A pair of five bytes takes two hundred of memory, for each message in flight."""
    async with feed_at(url, topic) as (layer, feed):
        flood = [("n", str(n)) if n else ("first", "kept") for n in range(30_000)]
        with foreign_client(url) as client:
            publish(client, topic, b"1", UserProperty=flood)
        await layer.publish([record(topic, 2)])
        got = await take(feed, 2)
        assert bodies(got) == ["1", "2"]
        assert got[0].record.headers == {"first": "kept", "n": "999", "mqtt-cut": "true"}
        await feed.settle(acks(got))
        many = record(topic, 3, headers={str(n): "" for n in range(997)})
        with pytest.raises(PublishFailed, match="997 headers; 996 is the limit"):
            await layer.publish([many])
        await layer.publish([record(topic, 4, headers={str(n): "" for n in range(996)})])
        (leased,) = await take(feed, 1)
        assert len(leased.record.headers) == 996
        await feed.settle(acks([leased]))


BAD_TOPIC = pack_publish(9, b"\xff\xff", b"\x00", b"?")
BAD_PROPERTIES = pack_publish(10, b"t", b"\x03\x26\x00\x09", b"kept")


async def test_what_breaks_the_rules_of_mqtt_ends_nothing(url: str) -> None:
    suback = bytes([0x90, 5, 0, 1, 0, 1, 1])
    async with MQTTLayer(url) as layer:
        with Refuser(CONNACK, suback + BAD_TOPIC + BAD_PROPERTIES) as broker:
            redirect(layer, broker)
            async with joined(layer, "t") as feed:
                (leased,) = await take(feed, 1)
                assert (leased.record.body, leased.record.headers) == (b"kept", {})
                assert feed._receiver.set_aside == 1  # type: ignore[attr-defined]
                broker.hang_up()


@pytest.mark.parametrize(
    "publish",
    [bytes([0x32, 3, 0, 9, 0]), bytes([0x32, 0x80, 0x80, 0x80, 0x80, 1])],
    ids=["without a topic", "of an endless length"],
)
async def test_what_is_no_packet_at_all_is_no_lost_connection(url: str, publish: bytes) -> None:
    suback = bytes([0x90, 5, 0, 1, 0, 1, 1])
    async with MQTTLayer(url) as layer:
        with Refuser(CONNACK, suback + publish) as broker:
            redirect(layer, broker)
            async with joined(layer, "t") as feed:
                with pytest.raises(LayerError, match="no packet of MQTT 5") as caught:
                    await take(feed, 1)
                assert not isinstance(caught.value, ConnectionLost)


def on_the_way(sent: Record) -> Arrival:
    """What a broker passes on of `sent`."""
    packet = pack_publish(7, sent.topic.encode(), properties_of(sent), sent.body)
    begin, end = header_of(packet, 0) or (0, 0)
    assert end == len(packet)
    return read_publish(packet[0], packet[begin:])


async def test_whom_to_answer_survives_forwarding_and_dead_letters(url: str, topic: str) -> None:
    dead = f"{topic}-dead"
    correlation = bytes(range(256))
    async with Channel(MQTTLayer(url)) as channel:
        redelivery = Redelivery(dead_letter=dead)
        async with (
            channel.subscribe(topic, group="g", redelivery=redelivery) as sub,
            channel.subscribe(dead, group="g") as letters,
        ):
            with foreign_client(url) as client:
                publish(client, topic, b"1", ResponseTopic="answers/7", CorrelationData=correlation)
            with anyio.fail_after(10):
                await (await anext(sub)).reject("no")
                letter = await anext(letters)
                await letter.ack()
    assert letter.headers[RESPONSE_TOPIC] == "answers/7"
    found = read_properties(on_the_way(Record(dead, b"", "id", None, letter.headers)).properties)
    assert (found.response_topic, found.correlation_data) == ("answers/7", correlation)
    assert not {RESPONSE_TOPIC, CORRELATION_DATA} & {name for name, _ in found.pairs}


texts = st.text(max_size=20)
text_headers = st.dictionaries(texts, texts, max_size=4)
special = st.fixed_dictionaries(
    {}, optional={RESPONSE_TOPIC: texts, CORRELATION_DATA: texts, "mqtt-retain": texts}
)


@example(b"", "", None, {}, {CORRELATION_DATA: "AB=="}, "")
@given(st.binary(max_size=40), texts, st.one_of(st.none(), texts), text_headers, special, texts)
def test_whatever_a_record_says_arrives_equal(
    body: bytes,
    name: str,
    key: str | None,
    headers: dict[str, str],
    more: dict[str, str],
    content_type: str,
) -> None:
    sent = Record("t", body, f"id{name}", key, headers | more, content_type, 1.5)
    assert record_of(on_the_way(sent)) == (sent, True)


@given(st.integers(0, 255), st.binary(max_size=200))
@example(0x32, b"\x00\x01t\x00\x01\xff\xff\xff\xff")
def test_any_bytes_are_a_message_or_none_and_nothing_else(command: int, content: bytes) -> None:
    for read in (lambda: read_publish(command, content), lambda: read_puback(content)):
        try:
            found = read()
        except ValueError:
            continue
        if isinstance(found, Arrival):
            carried, _ = record_of(found)
            assert carried.id
            str(carried.headers).encode(errors="strict")


PAIR = b"\x26\x00\x01a\x00\x01b"


@pytest.mark.parametrize(
    ("packed", "pairs"),
    [
        (b"\x0b\xff\x01" + PAIR, [("a", "b")]),  # behind a subscription identifier
        (PAIR + b"\x26\x00\x01a\x00\x09b", [("a", "b")]),  # before one that breaks off
        (PAIR + b"\x7f" + PAIR, [("a", "b")]),  # before what MQTT does not know
    ],
)
def test_properties_are_read_as_far_as_they_can_be(
    packed: bytes, pairs: list[tuple[str, str]]
) -> None:
    assert read_properties(packed).pairs == pairs


@pytest.mark.parametrize("told", ["soon", "nan", "inf"])
def test_a_time_that_is_none_is_the_time_of_arrival(told: str) -> None:
    pairs = [(b"acked:id", b"1"), (b"acked:timestamp", told.encode())]
    packed = pack_properties(pairs, b"", None, None)
    began = time.time()
    carried, is_known = record_of(Arrival("t", 1, 1, False, False, packed[1:], b""))
    assert is_known
    assert began <= carried.timestamp <= time.time()


@pytest.mark.parametrize("reason", ["", "no", "x" * 124, "x" * 125, "x" * 20_000])
def test_why_a_broker_refused_is_read_however_long_it_is(reason: str) -> None:
    said = Properties(PacketTypes.PUBACK)
    said.ReasonString = reason
    mid, code, properties = read_puback(b"\x01\x02\x97" + said.pack())
    assert (mid, code, read_properties(properties).reason) == (0x0102, 0x97, reason)


@given(st.binary(max_size=300))
def test_whatever_came_can_be_buried_and_arrives_equal(packed: bytes) -> None:
    carried, _ = record_of(Arrival("t", 1, 1, False, False, packed, b"body"))
    assert record_of(on_the_way(carried)) == (carried, True)


@given(st.binary(max_size=12), st.integers(0, 3))
@example(b"\x30" + b"\x80" * 3, 0)
@example(b"\x30" + b"\x80" * 4, 0)
@example(b"\x30" + b"\x80" * 4 + b"\x00", 0)  # a fifth byte, though it is the last
def test_where_a_packet_ends_is_known_or_not_yet_or_never(packet: bytes, at: int) -> None:
    never_ends = len(packet) > at + 4 and all(byte >= 0x80 for byte in packet[at + 1 : at + 5])
    try:
        found = header_of(packet, at)
    except ValueError:
        assert never_ends
    else:
        assert not never_ends
        assert found is None or at < found[0] <= found[1] <= len(packet)
