"""What a consumer had in hand when it died is charged, and what it left or handles is not."""

from contextlib import asynccontextmanager

import anyio
import pytest

from acked import LayerError
from acked.conformance.harness import fresh
from acked.types import Outcome, Settlement, Verb
from compose.kafka.recipe import KafkaRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.kafka_kit import (
    SOON,
    ack,
    bodies,
    committed_at,
    evict,
    feed_of,
    layer_at,
    members_of,
    record,
    take,
)

pytestmark = pytest.mark.anyio


def charges(leased) -> list[tuple]:
    return [(one.attempt, one.failures, one.ended_alone) for one in leased]


@asynccontextmanager
async def dying(broker, between, group: str):
    """Let whoever comes through `between` be as dead for the broker, and for its group."""
    between.black_hole()
    await evict(broker, group, await members_of(broker, group))
    try:
        yield
    finally:
        between.heal()


async def published(broker, count: int) -> str:
    topic = fresh("topic")
    async with layer_at(broker) as layer:
        await layer.publish([record(topic, i) for i in range(count)])
    return topic


async def test_what_a_dead_consumer_had_in_hand_is_charged_and_nothing_else(
    kafka_broker, proxy
) -> None:
    topic, group, between = await published(kafka_broker, 200), fresh("group"), proxy(kafka_broker)
    async with layer_at(between) as lost, layer_at(kafka_broker) as layer:
        async with feed_of(lost, topic, group) as feed:
            zero, _, two, three = await take(feed, 4)
            await ack(feed, [zero, two])
            await feed.settle([Settlement(three.token, Verb.NACK)])
            async with dying(kafka_broker, between, group):
                async with feed_of(layer, topic, group) as other:
                    got = await take(other, 198)
                    assert bodies(got) == [1, *range(3, 200)]
                    assert charges(got[:2]) == [(2, 0, 0)] * 2
                    assert charges(got[100:]) == [(1, 0, 0)] * 98
                async with feed_of(layer, topic, group) as other:
                    again = await take(other, 198)
                    assert charges(again) == charges(got), "who left in good order is not charged"
                    await ack(other, again)


async def test_what_it_handled_alone_has_ended_it(kafka_broker, proxy) -> None:
    topic, group, between = await published(kafka_broker, 4), fresh("group"), proxy(kafka_broker)
    async with layer_at(between) as lost, layer_at(kafka_broker) as layer:
        async with feed_of(lost, topic, group) as feed:
            got = await take(feed, 4)
            for one in got:
                assert await feed.note_alone(one.token, alone=True) is one.token
            await feed.note_alone(got[0].token, alone=False)
            await feed.release([got[1].token])
            await feed.settle([Settlement(got[2].token, Verb.NACK)])
            async with (
                dying(kafka_broker, between, group),
                feed_of(layer, topic, group) as other,
            ):
                found = await take(other, 4)
                assert charges(found) == [(2, 0, 0), (2, 0, 0), (3, 1, 0), (2, 0, 1)]
                await other.release([found[3].token])
                (again,) = await take(other, 1)
                assert charges([again]) == [(2, 0, 1)], "a release takes back its own note only"
                await ack(other, [*found[:3], again])


async def test_a_consumer_that_joins_anew_charges_itself_nothing(private_broker) -> None:
    broker = private_broker("kafka")
    topic, group = await published(broker, 3), fresh("group")
    async with layer_at(broker, timeout=2.0) as layer, feed_of(layer, topic, group) as feed:
        got = await take(feed, 3)
        await feed.note_alone(got[2].token, alone=True)
        broker.pause()
        with anyio.fail_after(SOON), pytest.raises(LayerError):
            await feed.receive(1)
        broker.resume()
        again: list = []
        with anyio.fail_after(2 * SOON):
            while len(again) < 3:
                try:
                    again += await feed.receive(3)
                except LayerError:
                    continue
        assert charges(again) == [(1, 0, 0)] * 3
        await ack(feed, again)


async def test_nacks_are_counted_over_a_restart(kafka_broker) -> None:
    topic, group = await published(kafka_broker, 2), fresh("group")
    async with layer_at(kafka_broker) as layer:
        for turn in range(3):
            async with feed_of(layer, topic, group) as feed:
                zero, _ = got = await take(feed, 2)
                assert charges(got) == [(1 + turn, turn, 0), (1, 0, 0)]
                await feed.settle([Settlement(zero.token, Verb.NACK)])
        async with feed_of(layer, topic, group) as feed:
            await ack(feed, await take(feed, 2))
        assert (await committed_at(kafka_broker, group))[topic, 0].metadata == ""


async def test_who_has_lost_it_notes_nothing_with_it(kafka_broker) -> None:
    topic, group = await published(kafka_broker, 1), fresh("group")
    async with layer_at(kafka_broker) as layer, feed_of(layer, topic, group) as feed:
        (one,) = await take(feed, 1)
        await ack(feed, [one])
        assert await feed.note_alone(one.token, alone=True) is None


async def test_a_note_that_cannot_be_kept_is_an_error(kafka_broker, proxy) -> None:
    topic, group, between = await published(kafka_broker, 80), fresh("group"), proxy(kafka_broker)
    async with (
        layer_at(between, timeout=1.0) as layer,
        feed_of(layer, topic, group) as feed,
    ):
        (one,) = await take(feed, 1)
        between.black_hole()
        with pytest.raises(LayerError):
            await feed.note_alone(one.token, alone=True)
        with anyio.fail_after(SOON), pytest.raises(LayerError):
            await feed.receive(79)
        between.heal()
        with anyio.fail_after(2 * SOON):
            while True:
                try:
                    got = await take(feed, 79)
                    break
                except LayerError:
                    continue
        await feed.settle([Settlement(leased.token, Verb.ACK) for leased in (one, *got)])


async def test_where_there_is_no_room_for_it_nothing_is_noted() -> None:
    broker = NativeBroker(KafkaRecipe(heap=384, more=("offset.metadata.max.bytes=8",)))
    or_skip("kafka", broker.start)
    try:
        topic, group = await published(broker, 2), fresh("group")
        async with layer_at(broker) as layer, feed_of(layer, topic, group) as feed:
            one, two = await take(feed, 2)
            with pytest.raises(LayerError, match=r"offset\.metadata\.max\.bytes"):
                await feed.note_alone(one.token, alone=True)
            await ack(feed, [one, two])
    finally:
        broker.close()


async def test_a_partition_that_moves_in_good_order_charges_nothing(kafka_broker) -> None:
    topic, group = fresh("topic"), fresh("group")
    async with layer_at(kafka_broker, create_topics=2) as layer:
        await layer.publish([record(topic, i, key=str(i)) for i in range(40)])
        async with feed_of(layer, topic, group) as feed:
            held = await take(feed, 40)
            async with layer_at(kafka_broker, handover_timeout=1.0) as second:
                async with feed_of(second, topic, group) as other:
                    with anyio.fail_after(SOON):
                        await ack(feed, held[:10])
                    replies = await feed.settle([Settlement(h.token, Verb.ACK) for h in held[10:]])
                    assert set(replies) <= {Outcome.CONFIRMED, Outcome.LOST}
                    await layer.publish([record(topic, 40 + i, key=str(i)) for i in range(40)])
                    got: list = []
                    with anyio.move_on_after(SOON):
                        while len(got) < 10:
                            got += await other.receive(10)
                    assert set(charges(got)) == {(1, 0, 0)}
                    await ack(other, got)
