"""MQTT: PUBACKs, in the order of arrival and never before the user said so."""

import socket

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked.errors import ConnectionLost
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._packets import Arrival
from acked.layers.mqtt._receiver import MQTTReceiver
from acked.layers.mqtt._records import properties_of
from acked.types import Leased, Outcome, Record, Settlement, Verb
from tests.layers.mqtt.kit import (
    acks,
    bodies,
    broker_has_read,
    feed_at,
    record,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


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
        assert not feed._receiver._ready  # type: ignore[attr-defined]
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


def arrived(place: int, *, qos: int = 1, dup: bool = False, mid: int | None = None) -> Arrival:
    properties = properties_of(Record("topic", b"", str(place)))[1:]  # without their length
    return Arrival("topic", place if mid is None else mid, qos, dup, False, properties, b"")


def receiver_of(limit: int) -> MQTTReceiver:
    return MQTTReceiver(limit, {"topic"}.__contains__)


@given(st.data(), st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_whatever_the_order_of_settling_pubacks_are_a_prefix_of_the_arrivals(
    data: st.DataObject, qos: list[int]
) -> None:
    receiver = receiver_of(20)
    for n, one in enumerate(qos):
        assert receiver.arrive(arrived(n, qos=one)) == []
    taken = receiver.take(len(qos), 0.0)
    sent: list[int] = []
    settled: set[int] = set()
    for leased in data.draw(st.permutations(taken)):
        place = receiver.place_of(leased.token)
        assert place is not None
        settled.add(int(leased.record.id))
        sent += receiver.settle(place)
        due = [n for n, one in enumerate(qos) if one]
        assert sent == due[: len(sent)]
        assert set(sent) <= settled
        assert len(sent) == len(due) or due[len(sent)] not in settled
        assert receiver.place_of(leased.token) is None


@given(st.data(), st.integers(1, 12))
def test_after_a_reconnect_exactly_what_is_unsettled_comes_again(
    data: st.DataObject, count: int
) -> None:
    receiver = receiver_of(count)
    for n in range(count):
        receiver.arrive(arrived(n))
    taken = receiver.take(count, 0.0)
    settled = data.draw(st.sets(st.sampled_from(range(count))))
    sent = [mid for n in settled for mid in receiver.settle(receiver.place_of(taken[n].token) or 0)]
    heard = sent[: data.draw(st.integers(0, len(sent)))]  # the broker may not have read the rest
    receiver.forget_connection()
    assert {receiver.place_of(one.token) for one in taken} == {None}
    mids = [
        mid for n in range(count) if n not in heard for mid in receiver.arrive(arrived(n, dup=True))
    ]
    again = receiver.take(count, 0.0)
    assert [int(one.record.id) for one in again] == [n for n in range(count) if n not in settled]
    assert {one.attempt for one in again} <= {2}
    for one in again:
        mids += receiver.settle(receiver.place_of(one.token) or 0)
    assert mids == [n for n in range(count) if n not in heard]


def test_what_was_noted_and_never_acknowledged_is_known_again_without_flag_and_number() -> None:
    """ActiveMQ Artemis sends it under another number, and without DUP."""
    receiver = receiver_of(10)
    for n in range(2):
        receiver.arrive(arrived(n))
    _, second = receiver.take(2, 0.0)
    assert receiver.settle(receiver.place_of(second.token) or 0) == []
    receiver.forget_connection()
    receiver.arrive(arrived(0, mid=70))
    assert receiver.arrive(arrived(1, mid=71)) == []
    (first,) = receiver.take(2, 0.0)
    assert receiver.settle(receiver.place_of(first.token) or 0) == [70, 71]
    receiver.arrive(arrived(1, mid=72))  # published once more, it is a message like any other
    assert len(receiver.take(1, 0.0)) == 1


def test_a_message_of_another_id_under_the_same_number_is_no_redelivery() -> None:
    receiver = receiver_of(10)
    receiver.arrive(arrived(1, mid=7))
    (first,) = receiver.take(1, 0.0)
    receiver.settle(receiver.place_of(first.token) or 0)
    receiver.forget_connection()
    assert receiver.arrive(arrived(2, mid=7, dup=True)) == []
    assert [one.record.id for one in receiver.take(1, 0.0)] == ["2"]


def test_of_what_may_not_have_been_acked_the_last_is_remembered() -> None:
    receiver = MQTTReceiver(2, lambda _: True)
    for token in ((0, 1), (0, 2), (0, 3)):
        receiver.doubt(token)
    assert [receiver.is_doubtful((0, n)) for n in (1, 2, 3)] == [False, True, True]


async def test_what_was_nacked_comes_back_in_its_order_before_what_is_new(
    url: str, topic: str
) -> None:
    """The default of a failing handler is a delay."""
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(8)])
        got = await take(feed, 6)
        for one in got:  # each some moments after the one before
            await feed.settle([Settlement(one.token, Verb.NACK, delay=0.05)])
            await anyio.sleep(0.002)
        await anyio.sleep(0.1)
        assert bodies(await take(feed, 3)) == ["0", "1", "2"]
        assert bodies(await take(feed, 5)) == ["3", "4", "5", "6", "7"]
    await what_is_owed(url, topic)


async def test_an_ack_that_the_connection_broke_over_is_decided_when_it_is_tried_again(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(2)])
        got = await take(feed, 2)
        sock = feed._connection.client.socket()  # type: ignore[attr-defined]
        sock.shutdown(socket.SHUT_WR)  # the task that reads has not noticed yet
        replies = await feed.settle([*acks(got[:1]), Settlement(got[1].token, Verb.NACK)])
        assert isinstance(replies[0], ConnectionLost)
        assert await feed.settle(acks(got)) == [Outcome.SENT, Outcome.LOST]
        again = await take(feed, 1, reconnect=True)
        assert bodies(again) == ["1"]  # the first was settled, and is not handed out again
        await feed.settle(acks(again))
    assert await what_is_owed(url, topic) == []
