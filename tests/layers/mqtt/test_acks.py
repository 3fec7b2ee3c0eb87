"""MQTT: PUBACKs, in the order of arrival and never before the user said so; dead letters."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from acked.layers.mqtt._receiver import MQTTReceiver
from acked.types import Leased, Outcome, Settlement, Verb
from tests.layers.mqtt.kit import (
    acks,
    bodies,
    broker_has_read,
    feed_at,
    joined,
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
    intake = MQTTReceiver(20)
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
    intake = MQTTReceiver(count)
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
    intake = MQTTReceiver(10)
    intake.arrive(arrived(1, mid=7))
    (first,) = intake.take(1, 0.0)
    intake.settle(intake.place_of(first.token) or 0)
    intake.forget_connection()
    assert intake.arrive(arrived(2, mid=7, dup=True)) == []
    assert [one.record.id for one in intake.take(1, 0.0)] == ["2"]


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
