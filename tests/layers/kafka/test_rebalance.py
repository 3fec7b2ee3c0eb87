"""Members come and go: what stays with its member is not touched, what moves is handed over."""

import time
from collections import Counter
from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acked.conformance.harness import fresh
from acked.layers.kafka._assignor import Claims, plan, read_claims
from acked.layers.kafka._protocols import TopicPartition
from acked.types import Outcome, Settlement, Verb
from tests.layers.kafka_kit import (
    SOON,
    ack,
    bodies,
    evict,
    feed_of,
    layer_at,
    members_of,
    producer_of,
    record,
    take,
)

pytestmark = pytest.mark.anyio


async def filled(layer, topic: str, partitions: int, each: int) -> None:
    """Put `each` records into every partition of `topic`; their bodies count from 0."""
    await layer.publish([record(topic, -1)])  # makes it
    async with producer_of_layer(layer) as producer:
        for number in range(partitions * each):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % partitions)


def producer_of_layer(layer):
    class At:
        url = layer._options.where

    return producer_of(At)


async def acks(feed, leased) -> Counter:
    return Counter(await feed.settle([Settlement(one.token, Verb.ACK) for one in leased]))


class TestKeeping:
    async def test_a_join_costs_no_message_in_hand_its_lease(self, kafka_broker) -> None:
        """Nor those of partitions that move, as long as their handlers end in time."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=4) as layer:
            await filled(layer, topic, 4, 15)
            async with feed_of(layer, topic, group) as old:
                held = await take(old, 61)
                async with feed_of(layer, topic, group) as new:
                    assert await acks(old, held) == {Outcome.CONFIRMED: 61}
                    # Two of the four go over, now that nothing of them is in hand.
                    with anyio.fail_after(SOON):
                        while (
                            len({partition_of(one) for one in await moved(layer, topic, new)}) < 2
                        ):
                            pass

    async def test_what_is_not_in_hand_moves_at_once_and_nothing_comes_twice(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=4) as layer:
            await filled(layer, topic, 4, 5)
            async with feed_of(layer, topic, group, in_flight=3) as old:
                held = await take(old, 3)
                assert len({partition_of(one) for one in held}) < 3
                async with feed_of(layer, topic, group) as new:
                    others = await take(new, 5)
                    assert not set(bodies(others)) & set(bodies(held))
                    await ack(new, others)
                    await ack(old, held)

    async def test_a_handler_that_outlives_the_bound_is_told(self, kafka_broker, caplog) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=2, handover_timeout=1.0) as layer:
            await filled(layer, topic, 2, 3)
            async with feed_of(layer, topic, group) as old:
                held = await take(old, 7)
                async with feed_of(layer, topic, group) as new:
                    moved_again = await take(new, 3)
                    gone = {partition_of(one) for one in moved_again}
                    late = [one for one in held if partition_of(one) in gone]
                    kept = [one for one in held if partition_of(one) not in gone]
                    assert await acks(old, late) == {Outcome.LOST: len(late)}
                    assert await acks(old, kept) == {Outcome.CONFIRMED: len(kept)}
                    await ack(new, moved_again)
        assert "went to another member" in caplog.text
        assert "handover_timeout" in caplog.text

    async def test_a_delayed_nack_stays_where_it_is_and_comes_once(self, kafka_broker) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, group) as old:
                (leased,) = await take(old, 1)
                nack = Settlement(leased.token, Verb.NACK, delay=1.0)
                assert await old.settle([nack]) == [Outcome.CONFIRMED]
                async with feed_of(layer, topic, group):
                    assert await old.settle([nack]) == [Outcome.LOST]
                (again,) = await take(old, 1)
                assert again.attempt == 2
                await ack(old, [again])
                await layer.publish([record(topic, 1)])
                assert bodies(await take(old, 1)) == [1]

    async def test_what_was_another_members_meanwhile_is_not_ours_any_more(
        self, kafka_broker, proxy
    ) -> None:
        """A member that nobody heard of for a while finds its messages in other hands."""
        topic, group, between = fresh("topic"), fresh("group"), proxy(kafka_broker)
        async with layer_at(between) as away, layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(3)])
            async with feed_of(away, topic, group) as old:
                held = await take(old, 3)
                between.black_hole()
                await evict(kafka_broker, group, await members_of(kafka_broker, group))
                async with feed_of(layer, topic, group) as new:
                    again = await take(new, 3)
                    between.heal()
                    assert await acks(old, held) == {Outcome.LOST: 3}
                    await ack(new, again[:1])
                assert bodies(await take(old, 2)) == [1, 2]

    async def test_evicted_and_back_before_anybody_else_it_keeps_what_it_holds(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(3)])
            async with feed_of(layer, topic, group) as feed:
                held = await take(feed, 3)
                await evict(kafka_broker, group, await members_of(kafka_broker, group))
                assert await acks(feed, held) == {Outcome.CONFIRMED: 3}
                await layer.publish([record(topic, 3)])
                assert bodies(await take(feed, 1)) == [3]

    async def test_another_client_in_the_group_is_served_too(self, kafka_broker) -> None:
        """It knows nothing of handing over; what it does not have stays with us."""
        from aiokafka import AIOKafkaConsumer

        topic, group = fresh("topic"), fresh("group")
        at = kafka_broker.url.removeprefix("kafka://")
        async with layer_at(kafka_broker, create_topics=2, handover_timeout=1.0) as layer:
            await filled(layer, topic, 2, 2)
            async with feed_of(layer, topic, group) as feed:
                await ack(feed, await take(feed, 5))
                other = AIOKafkaConsumer(
                    topic, bootstrap_servers=at, group_id=group, enable_auto_commit=False
                )
                await other.start()
                try:
                    with anyio.fail_after(SOON):
                        while not other.assignment():
                            await anyio.sleep(0.05)
                    (theirs,) = other.assignment()
                    async with producer_of(kafka_broker) as producer:
                        await producer.send_and_wait(topic, b"8", partition=1 - theirs.partition)
                    assert bodies(await take(feed, 1)) == [8]
                finally:
                    await other.stop()


class TestStaticMembers:
    async def test_a_restart_within_the_session_disturbs_nobody(self, kafka_broker) -> None:
        """Its partitions wait for it; the other member goes on, and gets nothing of them."""
        topic, group = fresh("topic"), fresh("group")
        options = {"create_topics": 2, "session_timeout": 20.0}
        async with (
            layer_at(kafka_broker, group_instance_id="one", **options) as one,
            layer_at(kafka_broker, group_instance_id="two", **options) as two,
        ):
            await filled(one, topic, 2, 4)
            async with feed_of(one, topic, group, in_flight=1) as stays, AsyncExitStack() as stack:
                first = await stack.enter_async_context(feed_of(two, topic, group, in_flight=1))
                with anyio.fail_after(SOON):
                    mine = await first.receive(1)
                await ack(first, mine)
                place = partition_of(mine[0])
                await stack.aclose()
                began = time.monotonic()
                async with feed_of(two, topic, group, in_flight=1) as second:
                    again = await take(second, 1)
                    assert partition_of(again[0]) == place
                    assert time.monotonic() - began < 10  # not the session's end
                    await ack(second, again)
                held = await take(stays, 1)
                assert partition_of(held[0]) != place
                await ack(stays, held)

    async def test_two_subscriptions_of_one_process_are_two_members(self, kafka_broker) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=2, group_instance_id="pod") as layer:
            async with feed_of(layer, topic, group), feed_of(layer, topic, group):
                assert len(await members_of(kafka_broker, group)) == 2


def partition_of(leased) -> int:
    return leased.token.partition.place.partition


async def moved(layer, topic: str, feed) -> list:
    """Publish to all partitions until `feed` gets something of them; return and ack it."""
    await layer.publish([record(topic, 0) for _ in range(16)])
    got: list = []
    with anyio.move_on_after(0.3):
        while True:
            got += await feed.receive(16)
    if got:
        await ack(feed, got)
    return got


members = st.sampled_from("abcd")
PLACES = [TopicPartition("t", n) for n in range(5)] + [TopicPartition("u", n) for n in range(3)]


@example({"a": {"u"}, "b": {"u"}, "c": {"u"}}, {"a": (0, [TopicPartition("u", 1)])})
@given(
    st.dictionaries(members, st.sets(st.sampled_from("tu"), min_size=1), min_size=1),
    st.dictionaries(
        members,
        st.tuples(st.integers(-1, 9), st.lists(st.sampled_from([*PLACES, TopicPartition("x", 0)]))),
    ),
)
def test_a_plan_gives_each_partition_to_one_and_moves_no_more_than_it_must(topics, said) -> None:
    claims = {member: Claims(*said.get(member, (-1, []))) for member in topics}
    plans = plan(PLACES, topics, claims)
    wanted = [place for place in PLACES if any(place.topic in names for names in topics.values())]
    assert sorted(p for one in plans.values() for p in one.keeps) == sorted(wanted)
    for member, one in plans.items():
        assert all(place.topic in topics[member] for place in one.keeps)
        assert set(one.gives_up) <= set(one.keeps) & set(map(tuple, claims[member].partitions))
    if len({frozenset(names) for names in topics.values()}) == 1:
        # Once everything was handed over, it is even, and nothing moves any more.
        after = {
            member: Claims(10, [p for p in one.keeps if p not in one.gives_up])
            for member, one in plans.items()
        }
        settled = plan(PLACES, topics, after)
        counts = [len(one.keeps) for one in settled.values()]
        assert max(counts) - min(counts) <= 1
        assert not any(one.gives_up for one in settled.values())


@given(st.binary())
def test_what_other_members_say_can_always_be_read(told: bytes) -> None:
    assert isinstance(read_claims(told), Claims)
