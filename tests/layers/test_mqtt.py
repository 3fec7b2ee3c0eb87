"""MQTT's own: sessions, PUBACKs and their order, connections cut, refusals, foreign messages."""

import asyncio
import logging
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked.abc import AckFeed, AckLayer
from acked.errors import (
    CapabilityError,
    ConfigurationError,
    ConnectionLost,
    LayerError,
    PublishFailed,
)
from acked.layers._mqtt_intake import Intake
from acked.layers.mqtt import MQTTLayer
from acked.types import Leased, Outcome, Record, Settlement, Start, Verb
from tests.laws.harness import fresh
from tests.laws.lifecycle import alive

pytestmark = pytest.mark.anyio

GROUP = "group"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request) -> str:
    return request.param


@pytest.fixture
def topic() -> str:
    return fresh("topic")


@pytest.fixture
def url(mqtt_broker) -> str:
    return mqtt_broker.url


def record(topic: str, body: object = "body", **more: Any) -> Record:
    return Record(topic, str(body).encode(), fresh("id"), **more)


@asynccontextmanager
async def feed_at(
    url: str, topic: str, *, in_flight: int = 100, group: str = GROUP, **options: Any
) -> AsyncGenerator[tuple[MQTTLayer, AckFeed]]:
    """A layer of its own and a feed, that know nothing of earlier ones."""
    async with MQTTLayer(url, **options) as layer:
        async with joined(layer, topic, in_flight=in_flight, group=group) as feed:
            yield layer, feed


def joined(layer: MQTTLayer, *topics: str, in_flight: int = 100, group: str = GROUP):
    return layer.consume(topics, group, in_flight=in_flight, lease=30.0, start=Start.EARLIEST)


async def take(feed: AckFeed, count: int, *, reconnect: bool = False) -> list[Leased]:
    got: list[Leased] = []
    with anyio.fail_after(15):
        while len(got) < count:
            try:
                got += await feed.receive(count - len(got))
            except ConnectionLost:
                if not reconnect:
                    raise
                await anyio.sleep(0.02)
    return got


def bodies(leased: Sequence[Leased]) -> list[str]:
    return [one.record.body.decode() for one in leased]


def acks(leased: Sequence[Leased]) -> list[Settlement]:
    return [Settlement(one.token, Verb.ACK) for one in leased]


async def broker_has_read(feed: AckFeed) -> None:
    """Return when the broker has read every PUBACK: it answers what came after them."""
    await feed._link.barrier()  # type: ignore[attr-defined]


async def cut(between, feed: AckFeed) -> None:
    """Cut the connections and return when the feed has noticed it."""
    between.cut()
    with anyio.fail_after(10):
        while feed._link.broken is None:  # type: ignore[attr-defined]
            await anyio.sleep(0.001)


async def what_is_owed(url: str, topic: str, **options: Any) -> list[str]:
    """Return what the broker owes to the group, by its own account; and ack it."""
    async with feed_at(url, topic, **options) as (layer, feed):
        await layer.publish([record(topic, "sentinel")])
        got: list[Leased] = []
        while not got or got[-1].record.body != b"sentinel":
            got += await take(feed, 1)
        await feed.settle(acks(got))
    return bodies(got)[:-1]


@contextmanager
def foreign_client(url: str) -> Iterator[Client]:
    """A client that is not ours."""
    connected = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.loop_start()
    assert connected.wait(10)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = None


def test_the_layer_is_an_ack_layer() -> None:
    assert isinstance(MQTTLayer(), AckLayer)


# Records.


async def test_every_part_of_a_record_arrives(url: str, topic: str) -> None:
    headers = {
        "plain": "ü😀",
        "acked:id": "not the id",
        "u:x": "%41",
        "line\nfeed": "\x00\x01\x7f\x85",
        "": "",
        "\x00": "\ufffe",
        "percent": "%0A",
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


# PUBACKs.


async def test_an_ack_out_of_order_is_sent_when_those_before_it_are_settled(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(4)])
        got = await take(feed, 4)
        assert await feed.settle(acks([got[3], got[1]])) == [Outcome.SENT] * 2
        await broker_has_read(feed)
    # The broker has heard of none: the first was open.
    async with feed_at(url, topic) as (_, feed):
        got = await take(feed, 4)
        assert bodies(got) == ["0", "1", "2", "3"]
        assert {one.attempt for one in got} == {2}
        await feed.settle(acks([got[3], got[1], got[0]]))
    assert await what_is_owed(url, topic) == ["2", "3"]


async def test_the_receive_maximum_bounds_what_the_broker_sends(url: str, topic: str) -> None:
    async with feed_at(url, topic, in_flight=3) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(10)])
        got = await take(feed, 3)
        await broker_has_read(feed)  # and whatever it sent before that has arrived
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed.receive, 1)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert not feed._intake._ready  # type: ignore[attr-defined]
        await feed.settle(acks(got[:1]))
        assert bodies(await take(feed, 1)) == ["3"]


async def test_everything_gets_through_a_small_window(url: str, topic: str) -> None:
    async with feed_at(url, topic, in_flight=2) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(300)])
        got: list[Leased] = []
        while len(got) < 300:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += some
        assert bodies(got) == [str(n) for n in range(300)]
    assert await what_is_owed(url, topic) == []


def arrived(place: int, *, qos: int = 1, dup: bool = False, mid: int | None = None) -> MQTTMessage:
    message = MQTTMessage(place if mid is None else mid, b"topic")
    message.payload, message.qos, message.dup = b"", qos, dup
    message.properties = Properties(PacketTypes.PUBLISH)
    message.properties.UserProperty = [("acked:id", str(place))]
    return message


@given(st.data(), st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_whatever_the_order_of_settling_pubacks_are_a_prefix_of_the_arrivals(
    data: st.DataObject, qos: list[int]
) -> None:
    intake = Intake(20)
    for n, one in enumerate(qos):
        assert intake.arrive(arrived(n, qos=one)) == []
    taken = intake.take(len(qos), 0.0)
    sent: list[int] = []
    settled: set[int] = set()
    for leased in data.draw(st.permutations(taken)):
        place = intake.place_of(leased.token)
        assert place is not None
        settled.add(int(leased.record.id))
        sent += intake.settle(place)
        due = [n for n, one in enumerate(qos) if one]
        assert sent == due[: len(sent)]
        assert set(sent) <= settled
        assert len(sent) == len(due) or due[len(sent)] not in settled
        assert intake.place_of(leased.token) is None


@given(st.data(), st.integers(1, 12))
def test_after_a_reconnect_exactly_what_is_unsettled_comes_again(
    data: st.DataObject, count: int
) -> None:
    intake = Intake(count)
    for n in range(count):
        intake.arrive(arrived(n))
    taken = intake.take(count, 0.0)
    settled = data.draw(st.sets(st.sampled_from(range(count))))
    sent = [mid for n in settled for mid in intake.settle(intake.place_of(taken[n].token) or 0)]
    heard = sent[: data.draw(st.integers(0, len(sent)))]  # the broker may not have read the rest
    intake.forget_connection()
    assert {intake.place_of(one.token) for one in taken} == {None}
    mids = [
        mid for n in range(count) if n not in heard for mid in intake.arrive(arrived(n, dup=True))
    ]
    again = intake.take(count, 0.0)
    assert [int(one.record.id) for one in again] == [n for n in range(count) if n not in settled]
    assert {one.attempt for one in again} <= {2}
    for one in again:
        mids += intake.settle(intake.place_of(one.token) or 0)
    assert mids == [n for n in range(count) if n not in heard]


def test_a_message_of_another_id_under_the_same_number_is_no_redelivery() -> None:
    intake = Intake(10)
    intake.arrive(arrived(1, mid=7))
    (first,) = intake.take(1, 0.0)
    intake.settle(intake.place_of(first.token) or 0)
    intake.forget_connection()
    assert intake.arrive(arrived(2, mid=7, dup=True)) == []
    assert [one.record.id for one in intake.take(1, 0.0)] == ["2"]


# Connections.


async def test_a_stale_settlement_is_lost_and_never_sent_on_the_new_connection(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(3)])
        stale = await take(feed, 3)
        await cut(between, feed)
        with pytest.raises(ConnectionLost):
            await take(feed, 1)
        again = await take(feed, 3)
        assert {one.attempt for one in again} == {2}
        for verb in Verb:
            batch = [Settlement(one.token, verb) for one in stale]
            assert await feed.settle(batch) == [Outcome.LOST] * 3
        await broker_has_read(feed)
    assert await what_is_owed(url, topic) == ["0", "1", "2"]


async def test_what_was_acked_out_of_order_does_not_come_again_over_a_reconnect(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(4)])
        got = await take(feed, 4)
        assert await feed.settle(acks(got[1:3])) == [Outcome.SENT] * 2
        between.cut()
        again = await take(feed, 2, reconnect=True)
        assert bodies(again) == ["0", "3"]
        assert await feed.settle(acks(again)) == [Outcome.SENT] * 2
    assert await what_is_owed(url, topic) == []


async def test_attempts_count_nacks_over_a_reconnect_and_spare_what_nobody_saw(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(2)])
        (first,) = await take(feed, 1)
        await feed.settle([Settlement(first.token, Verb.NACK)])
        (first,) = await take(feed, 1)
        await broker_has_read(feed)  # the second one has arrived, too
        await cut(between, feed)
        again = await take(feed, 2, reconnect=True)
        assert [(one.record.body, one.attempt) for one in again] == [(b"0", 3), (b"1", 1)]


@pytest.mark.parametrize("after", [200, 1_000, 5_000])
async def test_nothing_accepted_is_lost_when_connections_are_cut_in_mid_stream(
    mqtt_broker, proxy, url: str, topic: str, after: int
) -> None:
    between = proxy(mqtt_broker)
    accepted: set[str] = set()
    seen: set[str] = set()
    async with feed_at(between.url, topic, in_flight=20) as (layer, feed):

        async def publish() -> None:
            for n in range(300):
                while True:
                    try:
                        await layer.publish([record(topic, n)])
                    except PublishFailed:
                        await anyio.sleep(0.01)
                    else:
                        accepted.add(str(n))
                        break
                if n % 100 == 50:
                    between.cut_after_bytes(after, "to_client")
                    between.cut_after_bytes(after * 2, "to_server")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            while len(seen) < 300:
                got = await take(feed, 1, reconnect=True)
                seen.update(bodies(got))
                await feed.settle(acks(got))
        assert seen == accepted
    assert between.statistics().cut_connections > 0


async def test_sessions_survive_a_restart_of_the_broker(private_broker, topic: str) -> None:
    broker = private_broker("mqtt")
    async with feed_at(broker.url, topic) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(3)])
        got = await take(feed, 3)
        await feed.settle(acks(got[:1]))
        await broker_has_read(feed)
        await anyio.to_thread.run_sync(broker.restart)
        assert bodies(await take(feed, 2, reconnect=True)) == ["1", "2"]
        with anyio.fail_after(10):
            await layer.publish([record(topic, 3)])  # by a new connection
        assert bodies(await take(feed, 1)) == ["3"]


async def test_a_session_that_the_broker_forgot_is_a_warning_and_consuming_goes_on(
    mqtt_broker, proxy, url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (layer, feed):
        (client_id,) = layer._taken
        between.refuse()
        between.cut()
        with pytest.raises(ConnectionLost):
            await take(feed, 1)
        await anyio.to_thread.run_sync(forget_session, url, client_id)
        between.accept()
        with caplog.at_level(logging.WARNING, logger="acked.mqtt"):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(feed.receive, 1)
                    while not caplog.records:
                        await anyio.sleep(0.01)
                    scope.cancel()
        assert "forgotten the session" in caplog.text
        await publisher.publish([record(topic, "after")])
        assert bodies(await take(feed, 1, reconnect=True)) == ["after"]


def forget_session(url: str, client_id: str) -> None:
    """Let the broker forget a session, by connecting as it with a clean start."""
    ended = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: client.disconnect()
    client.on_disconnect = lambda *_: ended.set()
    client.connect("127.0.0.1", int(url.rpartition(":")[2]), clean_start=True)
    client.loop_start()
    assert ended.wait(10)
    client.loop_stop()
    client.on_connect = client.on_disconnect = None


async def test_a_second_consumer_takes_the_session_over(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, first):
        await layer.publish([record(topic)])
        await take(first, 1)
        async with feed_at(url, topic) as (_, second):
            with pytest.raises(LayerError):
                await take(first, 1)
            assert bodies(await take(second, 1)) == ["body"]


async def test_a_session_taken_over_is_no_reason_to_try_again(url: str, topic: str) -> None:
    suback, taken_over = bytes([0x90, 4, 0, 1, 0, 1]), bytes([0xE0, 2, 0x8E, 0])
    async with MQTTLayer(url) as layer:
        with Refuser(CONNACK, suback + taken_over) as broker:
            layer._address = layer._address._replace(port=int(broker.url.rpartition(":")[2]))
            async with joined(layer, topic) as feed:
                with pytest.raises(LayerError, match="taken over") as caught:
                    await take(feed, 1)
                assert not isinstance(caught.value, ConnectionLost)


async def test_a_second_consumer_of_one_layer_is_refused_unless_shared(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, _):
        with pytest.raises(LayerError, match="shared=True"):
            async with joined(layer, topic):
                pass


async def test_consumers_of_a_shared_group_share_its_messages(url: str, topic: str) -> None:
    async with MQTTLayer(url, client_id=fresh("member"), shared=True) as layer:
        async with joined(layer, topic) as one, joined(layer, topic) as other:
            await layer.publish([record(topic, n) for n in range(10)])
            got = await take(one, 5) + await take(other, 5)
            assert sorted(bodies(got)) == [str(n) for n in range(10)]
        async with joined(layer, topic) as one:
            assert len(await take(one, 5)) == 5  # its own; the other's stay with the other


async def test_two_groups_each_get_every_message(url: str, topic: str) -> None:
    async with MQTTLayer(url) as layer:
        async with joined(layer, topic, group="a") as a, joined(layer, topic, group="b") as b:
            await layer.publish([record(topic, n) for n in range(3)])
            for feed in (a, b):
                got = await take(feed, 3)
                assert bodies(got) == ["0", "1", "2"]
                await feed.settle(acks(got))


async def test_a_silent_network_is_noticed_within_some_keepalives(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with feed_at(between.url, topic, keepalive=1, timeout=1.0) as (layer, feed):
        between.black_hole()
        with anyio.fail_after(6), pytest.raises(ConnectionLost):
            await feed.receive(1)
        with anyio.fail_after(6), pytest.raises(PublishFailed):
            await layer.publish([record(topic)])
        between.cut()
        between.heal()
        await layer.publish([record(topic, "healed")])
        with anyio.fail_after(10):
            assert bodies(await take(feed, 1, reconnect=True)) == ["healed"]


# Publishing.


async def test_a_publish_that_was_not_answered_is_indeterminate_and_sent_no_more(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with feed_at(url, topic) as (_, feed):
        async with MQTTLayer(between.url, timeout=0.3) as layer:
            between.black_hole()
            batch = [record(topic, f"ghost {n}") for n in range(50)]
            with pytest.raises(PublishFailed, match="did not answer") as caught:
                await layer.publish(batch)
            assert len(caught.value.failures) == 50
            assert caught.value.indeterminate
            between.cut()
            between.heal()
            await layer.publish([record(topic, "after")])
        assert bodies(await take(feed, 1)) == ["after"]


async def test_after_a_lost_connection_nothing_more_of_a_publish_is_sent(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    count = 1200
    async with feed_at(url, topic) as (_, feed), MQTTLayer(between.url) as layer:
        between.cut_after_bytes(80_000, "to_server")
        with pytest.raises(PublishFailed, match="broke") as caught:
            await layer.publish([record(topic, n) for n in range(count)])
        assert caught.value.indeterminate
        failed = sorted(caught.value.failures)
        assert 0 < failed[0] < count
        assert failed == list(range(failed[0], count))
        await layer.publish([record(topic, "after")])
        got: list[str] = []
        while "after" not in got:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += bodies(some)
        # What was accepted, what was on its way, and nothing beyond: in order, and no ghosts.
        assert got == [*(str(n) for n in range(len(got) - 1)), "after"]
        assert len(got) - 1 >= failed[0]


async def test_a_record_beyond_the_brokers_packet_size_is_refused_unsent(topic: str) -> None:
    granted = bytes([0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 200])
    with Refuser(granted) as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(PublishFailed, match="up to 200 bytes") as caught:
                await layer.publish([record(topic, "x" * 200)])
            assert not caught.value.indeterminate


async def test_a_publish_with_no_way_to_the_broker_is_not_indeterminate(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(between.url) as layer:
        between.refuse()
        between.cut()
        with anyio.fail_after(10):
            while layer.client.is_connected():
                await anyio.sleep(0.001)
        with pytest.raises(PublishFailed) as caught:
            await layer.publish([record(topic)])
        assert not caught.value.indeterminate
        assert isinstance(caught.value.failures[0], ConnectionLost)


async def test_closing_answers_a_publish_that_waits(topic: str) -> None:
    with Refuser(CONNACK) as broker:
        async with anyio.create_task_group() as tasks:
            caught: list[PublishFailed] = []
            async with MQTTLayer(broker.url) as layer:

                async def publish() -> None:
                    with pytest.raises(PublishFailed) as info:
                        await layer.publish([record(topic)])
                    caught.append(info.value)

                tasks.start_soon(publish)
                await anyio.wait_all_tasks_blocked()
        assert caught[0].indeterminate


async def test_a_publish_with_nobody_to_keep_it_for_is_a_success(url: str, topic: str) -> None:
    async with MQTTLayer(url) as layer:
        sent = record(topic)
        (receipt,) = await layer.publish([sent])
        assert (receipt.id, receipt.position) == (sent.id, "")
        assert await layer.publish([]) == []


async def test_concurrent_publishers_lose_nothing(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        async with anyio.create_task_group() as tasks:
            for n in range(100):
                tasks.start_soon(layer.publish, [record(topic, n), record(topic, 100 + n)])
        got = []
        while len(got) < 200:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += bodies(some)
        assert sorted(map(int, got)) == list(range(200))


async def test_a_cancelled_publish_leaves_the_layer_usable(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(layer.publish, [record(topic, n) for n in range(50)])
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        await layer.publish([record(topic, "after")])
        got: list[Leased] = []
        while not got or got[-1].record.body != b"after":
            got += await take(feed, 1)
        assert len(set(bodies(got))) == len(got)


# Dead letters.


async def test_a_dead_letter_that_nobody_keeps_leaves_the_message_owed(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([record(topic, "poison")])
        (leased,) = await take(feed, 1)
        letter = Settlement(leased.token, Verb.REJECT, dead_letter=record(topic + "-dead"))
        assert await feed.settle([letter]) == [Outcome.UNKNOWN]
        async with joined(layer, topic + "-dead") as dead:
            assert await feed.settle([letter]) == [Outcome.SENT]
            assert len(await take(dead, 1)) == 1
    assert await what_is_owed(url, topic) == []


# What a broker refuses, by one that refuses on purpose.


class Refuser(threading.Thread):
    """A server that answers each packet of one connection with prepared bytes."""

    def __init__(self, *replies: bytes) -> None:
        super().__init__(daemon=True)
        self._replies = replies
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://user:secret@127.0.0.1:{self._server.getsockname()[1]}"
        self._is_over = threading.Event()

    def run(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            for reply in self._replies:
                connection.recv(65_536)
                connection.sendall(reply)
            connection.settimeout(0.05)
            while not self._is_over.is_set():
                try:
                    if not connection.recv(65_536):
                        break
                except TimeoutError:
                    pass

    def hang_up(self) -> None:
        self._is_over.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.join(10)


CONNACK = bytes([0x20, 3, 0, 0, 0])
NOT_AUTHORIZED = 0x87


async def test_a_refused_publish_raises(topic: str) -> None:
    puback = bytes([0x40, 4, 0, 1, NOT_AUTHORIZED, 0])
    with Refuser(CONNACK, puback) as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(PublishFailed, match="Not authorized") as caught:
                await layer.publish([record(topic)])
            assert not caught.value.indeterminate


async def test_a_refused_subscription_raises(topic: str) -> None:
    suback = bytes([0x90, 4, 0, 1, 0, NOT_AUTHORIZED])
    with Refuser(CONNACK) as publishing:
        async with MQTTLayer(publishing.url) as layer:
            with Refuser(CONNACK, suback) as broker:
                layer._address = layer._address._replace(port=int(broker.url.rpartition(":")[2]))
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
            layer._address = layer._address._replace(port=int(broker.url.rpartition(":")[2]))
            with pytest.raises(LayerError, match=words):
                async with joined(layer, topic):
                    pass


async def test_a_shorter_expiry_than_asked_for_is_a_warning(
    topic: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    granted = bytes([0x20, 8, 0, 0, 5, 0x11, 0, 0, 0, 60])
    suback = bytes([0x90, 4, 0, 1, 0, 1])
    async with MQTTLayer(url) as layer:
        with Refuser(granted, suback) as broker:
            layer._address = layer._address._replace(port=int(broker.url.rpartition(":")[2]))
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
        with anyio.fail_after(5), pytest.raises(ConnectionLost, match="did not answer"):
            await MQTTLayer(broker.url, timeout=0.2).__aenter__()


async def test_no_server_is_a_lost_connection_that_names_the_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{port}") as caught:
        await MQTTLayer(f"mqtt://user:secret@127.0.0.1:{port}").__aenter__()
    assert "secret" not in str(caught.value)


# TLS.


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, signed by itself, and its key, in one file."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(made)]
    subprocess.run(
        [program, "req", "-x509", *options, *names, *files], check=True, stderr=subprocess.DEVNULL
    )
    made.write_text(made.read_text() + key.read_text())
    return made


@contextmanager
def tls_before(port: int, certificate: Path) -> Iterator[int]:
    """A port that speaks TLS and hands on to `port` what it was told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65_536):
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, to_broker), copy(from_broker, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def test_messages_of_all_sizes_pass_through_tls(
    mqtt_broker, certificate: Path, topic: str
) -> None:
    with tls_before(mqtt_broker.port, certificate) as port:
        url = f"mqtts://127.0.0.1:{port}"
        async with feed_at(url, topic, ca_certs=str(certificate)) as (layer, feed):
            sizes = [0, 1, 1_000, 16_384, 16_385, 70_000, 1_000_000]
            await layer.publish([record(topic, "x" * size) for size in sizes])
            got = await take(feed, len(sizes))
            assert [len(one.record.body) for one in got] == sizes
            await feed.settle(acks(got))
        assert await what_is_owed(mqtt_broker.url, topic) == []


# Life.


async def test_nothing_is_left_after_closing(url: str, topic: str) -> None:
    before = alive()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            async with feed_at(url, topic) as (layer, feed):
                await layer.publish([record(topic)])
                await feed.settle(acks(await take(feed, 1)))
                scope.cancel()
                await anyio.sleep_forever()
    with anyio.fail_after(10):
        while alive() != before:  # a socket's closing is seen a moment later
            await anyio.sleep(0.01)


async def test_cancelling_while_connecting_leaves_nothing() -> None:
    before = alive()
    with Refuser() as broker:
        with anyio.move_on_after(0.2):
            await MQTTLayer(broker.url).__aenter__()
    with anyio.fail_after(10):
        while alive() != before:
            await anyio.sleep(0.01)


async def test_a_layer_can_be_opened_again_and_refuses_while_closed(url: str, topic: str) -> None:
    layer = MQTTLayer(url)
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


# Options.


def test_a_url_says_everything_the_arguments_say() -> None:
    layer = MQTTLayer.from_url(
        "mqtt://user:p%40ss@broker:1884?client_id=shop&session_expiry=60&shared=true&keepalive=5"
    )
    assert layer._address == ("mqtt", "broker", 1884, "user", "p@ss")
    assert (layer._prefix, layer._session_expiry, layer._is_shared) == ("shop", 60, True)
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
        "mqtt://h:port",
        "mqtt://h/path",
        "http://h",
    ],
)
def test_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        MQTTLayer.from_url(url)


def test_tls_checks_the_broker() -> None:
    context = MQTTLayer("mqtts://broker")._tls
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert MQTTLayer("mqtt://broker")._tls is None
