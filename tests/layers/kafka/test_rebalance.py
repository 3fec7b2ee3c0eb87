"""Members come and go: what stays with its member is not touched, what moves is handed over."""

import time
from collections import Counter
from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acked import ConnectionLost
from acked.conformance.harness import fresh
from acked.layers.kafka._assignor import Claims, HandOverAssignor, plan, read_claims
from acked.layers.kafka._protocols import TopicPartition, member_assignment
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

    async def test_what_nobody_wants_any_more_before_it_went_stays_and_comes_once(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=4) as layer:
            await filled(layer, topic, 4, 10)
            async with feed_of(layer, topic, group) as old:
                held = await take(old, 41)
                kept = {one.token.partition: one for one in held}
                others = [one for one in held if one not in kept.values()]
                assert len(kept) == 4, "something of each is in hand"
                async with feed_of(layer, topic, group):
                    with anyio.fail_after(SOON):
                        while not any(partition.is_leaving for partition in kept):
                            await anyio.sleep(0.05)
                    nacks = [Settlement(one.token, Verb.NACK) for one in others]
                    assert set(await old.settle(nacks)) == {Outcome.CONFIRMED}
                    staying = [one for one in others if not one.token.partition.is_leaving]
                    again = await take(old, len(staying))
                    assert not any(one.token.partition.is_leaving for one in again)
                again += await take(old, len(others) - len(again))
                assert sorted(bodies(again)) == sorted(bodies(others))
                await ack(old, [*again, *kept.values()])

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

    async def test_a_delayed_nack_of_a_partition_that_moves_comes_there_at_once_and_once(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=2) as layer:
            await filled(layer, topic, 2, 1)
            async with feed_of(layer, topic, group) as old:
                held = await take(old, 3)
                nacks = [Settlement(one.token, Verb.NACK, delay=4.0) for one in held]
                began = anyio.current_time()
                assert set(await old.settle(nacks)) == {Outcome.CONFIRMED}
                async with feed_of(layer, topic, group) as new:
                    there = await take(new, 1)
                    assert anyio.current_time() - began < 4.0
                    with anyio.move_on_after(0.5):
                        there += await new.receive(3)
                    again = await take(old, 3 - len(there))
                    assert sorted(bodies(there + again)) == sorted(bodies(held))
                    await ack(new, there)
                    await ack(old, again)
                    await layer.publish([record(topic, 9, key=str(n)) for n in range(20)])
                    assert set(bodies(await old.receive(20))) == {9}, "what moved is not here"

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

    async def test_an_ack_while_others_are_waited_for_is_unconfirmed_and_decided_later(
        self, kafka_broker, proxy
    ) -> None:
        """A member that nobody hears of holds up the distribution, for a session."""
        topic, group, between = fresh("topic"), fresh("group"), proxy(kafka_broker)
        async with (
            layer_at(kafka_broker, timeout=1.0) as layer,
            layer_at(kafka_broker) as third,
            layer_at(between) as silent,
            feed_of(layer, topic, group) as feed,
        ):
            await layer.publish([record(topic, i) for i in range(500)])
            held = await take(feed, 500)
            async with feed_of(silent, topic, group), anyio.create_task_group() as tasks:
                between.black_hole()
                tasks.start_soon(stay, third, topic, group)
                with anyio.fail_after(SOON):
                    while await acks(feed, [one := held.pop()]) == {Outcome.CONFIRMED: 1}:
                        await anyio.sleep(0.02)
                    (reply,) = await feed.settle([Settlement(one.token, Verb.ACK)])
                    assert isinstance(reply, ConnectionLost)
                    assert "not joined again in time" in str(reply)
                    while await acks(feed, [one, *held]) != {Outcome.CONFIRMED: 1 + len(held)}:
                        await anyio.sleep(0.02)
                between.heal()
                tasks.cancel_scope.cancel()

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


async def stay(layer, topic: str, group: str) -> None:
    """Be a member, until cancelled."""
    async with feed_of(layer, topic, group):
        await anyio.sleep_forever()


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


class _Cluster:
    @staticmethod
    def partitions_for_topic(topic: str) -> set[int] | None:
        return {"t": {0, 1, 2, 3}}.get(topic)


def test_a_member_learns_what_it_has_and_what_of_it_is_wanted_elsewhere() -> None:
    old, new = HandOverAssignor(), HandOverAssignor()
    old.claims = Claims(3, [("t", n) for n in range(4)])
    members = {"old": old.metadata({"t", "gone"}), "new": new.metadata({"t"})}
    told = new.assign(_Cluster(), members)
    ((topic, places),) = told["old"].assignment
    assert (topic, sorted(places)) == ("t", [0, 1, 2, 3])
    assert told["new"].assignment == []
    old.on_assignment(told["old"])
    new.on_assignment(told["new"])
    assert len(set(old.gives_up)) == 2
    assert new.gives_up == []
    old.on_assignment(member_assignment(0, [("t", [0])], b"of another client"))
    assert old.gives_up == ()


@given(st.binary())
def test_what_other_members_say_can_always_be_read(told: bytes) -> None:
    assert isinstance(read_claims(told), Claims)
