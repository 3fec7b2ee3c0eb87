"""MQTT: a message that is given up is buried, however large it is and whatever is said of it."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import Channel, Delivery, Redelivery, Topic
from acked.codecs import RAW
from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._packets import pack_publish
from acked.layers.mqtt._records import fitted_letter, properties_of
from acked.types import Outcome, Record, Settlement, Verb
from tests.layers.mqtt.kit import (
    acks,
    feed_at,
    foreign_client,
    joined,
    mosquitto,
    record,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


async def test_a_dead_letter_that_nobody_keeps_leaves_the_message_owed(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([record(topic, "poison")])
        (leased,) = await take(feed, 1)
        letter = Settlement(leased.token, Verb.REJECT, dead_letter=record(topic + "-dead"))
        (refused,) = await feed.settle([letter])
        assert isinstance(refused, LayerError)
        assert not isinstance(refused, ConnectionLost)
        assert f"{topic}-dead" in str(refused)
        assert "stays owed" in str(refused)
        async with joined(layer, topic + "-dead") as dead:
            assert await feed.settle([letter]) == [Outcome.SENT]
            assert len(await take(dead, 1)) == 1
    assert await what_is_owed(url, topic) == []


async def buried(url: str, topic: str, size: int, reason: str, **headers: str) -> Delivery[bytes]:
    """Return the dead letter of a message of `size` bytes that was rejected for `reason`."""
    here, dead = Topic(topic, bytes, codec=RAW), Topic(f"{topic}-dead", bytes, codec=RAW)
    async with Channel(MQTTLayer(url)) as channel:
        redelivery = Redelivery(dead_letter=dead.name)
        async with (
            channel.subscribe(dead, group="group") as letters,
            channel.subscribe(here, group="group", redelivery=redelivery) as sub,
        ):
            await channel.publish(here, b"x" * size, headers=headers)
            with anyio.fail_after(10):
                await (await anext(sub)).reject(reason)
                letter = await anext(letters)
                await letter.ack()
    assert await what_is_owed(url, topic) == []
    return letter


async def test_a_dead_letter_that_is_refused_leaves_the_message_owed(tmp_path, topic: str) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {topic}\n")
    acl.chmod(0o600)
    with mosquitto(f"acl_file {acl}") as broker:
        async with feed_at(broker.url, topic) as (layer, feed):
            await layer.publish([record(topic)])
            (leased,) = await take(feed, 1)
            letter = record(f"{topic}-dead")
            (reply,) = await feed.settle([Settlement(leased.token, Verb.REJECT, 0.0, letter)])
            assert "Not authorized; check what this user may write" in str(reply)
            assert await feed.settle(acks([leased])) == [Outcome.SENT]


def test_a_letter_with_a_header_that_mqtt_cannot_carry_is_cut_to_what_it_can() -> None:
    more = {"acked-reason": "because", "acked-topic": "t", "huge": "x" * 70_000}
    cut = fitted_letter(Record("dead", b"body", "id", None, more), None)
    assert cut.headers == {"acked-reason": "because", "acked-topic": "t"}
    assert cut.body == b"body"


def test_more_headers_than_a_packet_has_room_for_are_refused_by_their_size() -> None:
    headers = {str(n): "x" * 60_000 for n in range(20)}
    with pytest.raises(LayerError, match=r"12\d{5} bytes of headers; \d+ is the limit here"):
        properties_of(Record("t", b"", "id", None, headers))


async def test_a_message_as_large_as_the_broker_takes_is_buried_with_its_body(topic: str) -> None:
    with mosquitto("max_packet_size 2000") as broker:
        letter = await buried(broker.url, topic, 1_400, "because " * 99, source="web")
        assert len(letter.body) == 1_400
        assert letter.headers["source"] == "web"
        assert letter.headers["acked-topic"] == topic
        letter = await buried(broker.url, topic, 1_830, "because")
        assert len(letter.body) == 1_830


@pytest.mark.parametrize("reason", ["\ud800", "line\nfeed \x1b[31m", "x" * 100_000])
async def test_whatever_the_reason_says_the_message_is_buried(
    url: str, topic: str, reason: str
) -> None:
    letter = await buried(url, topic, 5, reason)
    assert letter.headers["acked-reason"]


async def test_thousands_of_properties_are_buried(url: str, topic: str) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [(f"name {n}", "x" * 200) for n in range(5_000)]
    dead = f"{topic}-dead"
    async with Channel(MQTTLayer(url)) as channel:
        redelivery = Redelivery(dead_letter=dead)
        async with (
            channel.subscribe(dead, group="group") as letters,
            channel.subscribe(topic, group="group", redelivery=redelivery) as sub,
        ):
            with foreign_client(url) as client:
                sent = client.publish(topic, b"1", qos=1, properties=properties)
                sent.wait_for_publish(10)
            with anyio.fail_after(10):
                async with anyio.create_task_group() as reading:
                    reading.start_soon(anext, sub)  # nobody is handed it
                    letter = await anext(letters)
                    reading.cancel_scope.cancel()
                await letter.ack()
    assert letter.headers["acked-reason"].startswith("beyond the bounds: 1001 headers")


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=30)), st.text(), st.integers(80, 400))
def test_a_letter_is_cut_only_as_far_as_it_must_be(
    headers: dict[str, str], reason: str, largest: int
) -> None:
    more = {"acked-reason": reason, "acked-topic": "t", "acked-group": "g" * 50}
    letter = Record("dead", b"body", "id", None, headers | more)
    cut = fitted_letter(letter, largest)
    assert (cut.body, cut.id) == (letter.body, letter.id)
    assert cut.headers.items() <= (letter.headers | {"acked-reason": reason[:200]}).items()
    size = len(pack_publish(1, b"dead", properties_of(letter), letter.body))
    if cut is letter:
        assert size <= largest or largest < 120
    else:
        assert size > largest - 9
        assert len(pack_publish(1, b"dead", properties_of(cut), cut.body)) <= largest
