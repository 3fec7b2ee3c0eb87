"""Kafka beyond the laws: offsets and their notes, rebalances, and the feed."""

import random
import time

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from acked import LayerError, Start
from acked.conformance.harness import fresh
from acked.types import Outcome, Settlement, Verb
from tests.layers.kafka_kit import SOON, ack, bodies, feed_of, layer_at, producer_of, record, take

pytestmark = pytest.mark.anyio


class TestOffsets:
    @pytest.mark.parametrize("seed", range(5))
    async def test_after_acks_in_any_order_exactly_the_unacked_come_again(
        self, kafka_broker, seed
    ) -> None:
        """C13: over several restarts, each reading only a part of what the note covers."""
        dice = random.Random(seed)
        topic, group = fresh("topic"), fresh("group")
        unacked = set(range(300))
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(300)])
            while unacked:
                async with feed_of(layer, topic, group) as feed:
                    count = dice.randint(1, len(unacked))
                    got = await take(feed, count)
                    assert bodies(got) == sorted(unacked)[:count]
                    chosen = [one for one in got if dice.random() < 0.8]
                    dice.shuffle(chosen)
                    for i in range(0, len(chosen), 40):
                        await ack(feed, chosen[i : i + 40])
                    unacked -= set(bodies(chosen))

    async def test_gaps_of_aborted_transactions_do_not_hold_up_the_commit(
        self, kafka_broker
    ) -> None:
        """C14: markers and aborted records are never delivered, and are never waited for."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with producer_of(kafka_broker, transactional_id=fresh("tx")) as producer:
                for number, is_aborted in ((1, False), (99, True), (2, False)):
                    await producer.begin_transaction()
                    await producer.send_and_wait(topic, b"%d" % number)
                    if is_aborted:
                        await producer.abort_transaction()
                    else:
                        await producer.commit_transaction()
            await layer.publish([record(topic, 3)])
            async with feed_of(layer, topic, group) as feed:
                got = await take(feed, 4)
                assert bodies(got) == [0, 1, 2, 3]
                await ack(feed, [got[3], got[1]])
            async with feed_of(layer, topic, group) as feed:
                got = await take(feed, 2)
                assert bodies(got) == [0, 2]
                await ack(feed, got)
            await layer.publish([record(topic, 4)])
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [4]

    async def test_what_is_published_after_entering_at_the_latest_is_owed_to_the_group(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, group, start=Start.LATEST):
                pass
            await layer.publish([record(topic, 1)])
            async with feed_of(layer, topic, group, start=Start.LATEST) as feed:
                assert bodies(await take(feed, 1)) == [1]

    async def test_a_new_group_begins_at_a_time(self, kafka_broker) -> None:
        topic, now = fresh("topic"), time.time()
        async with layer_at(kafka_broker) as layer, producer_of(kafka_broker) as producer:
            await layer.publish([record(topic, 0)])
            for ago in (30, 20, 10):
                stamp = round((now - ago) * 1000)
                await producer.send_and_wait(topic, b"%d" % ago, timestamp_ms=stamp)
            for moment, first in ((now - 60, 0), (now + 60, 99)):
                async with feed_of(layer, topic, fresh("g"), start=Start.at(moment)) as feed:
                    if first:
                        await layer.publish([record(topic, first)])
                    assert bodies(await take(feed, 1)) == [first]

    async def test_a_new_group_begins_at_an_offset_and_a_known_one_where_it_was(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, start_offsets={(topic, 0): 3}) as layer:
            await layer.publish([record(topic, i) for i in range(5)])
            async with feed_of(layer, topic, group) as feed:
                got = await take(feed, 2)
                assert bodies(got) == [3, 4]
                await ack(feed, got[:1])
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [4]

    async def test_a_partition_added_later_is_read_from_its_first_record(
        self, kafka_broker
    ) -> None:
        """Even by a group that starts at the latest: it is known, so nothing may be skipped."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, group, start=Start.LATEST):
                pass
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.url.removeprefix("kafka://"))
            await admin.start()
            await admin.create_partitions({topic: NewPartitions(2)})
            await admin.close()
            async with producer_of(kafka_broker) as producer:
                with anyio.fail_after(SOON):
                    while len(await producer.partitions_for(topic)) < 2:
                        await producer.client.force_metadata_update()
                await producer.send_and_wait(topic, b"1", partition=1)
        async with layer_at(kafka_broker) as layer:
            async with feed_of(layer, topic, group, start=Start.LATEST) as feed:
                assert bodies(await take(feed, 1)) == [1]


class TestRebalance:
    async def test_nothing_is_lost_when_members_come_and_go_with_work_in_flight(
        self, kafka_broker
    ) -> None:
        """H6, row 7: acks before the revoke are committed at it; only the unsettled come twice."""
        topic, group = fresh("topic"), fresh("group")
        total, acked, twice = 3000, set[int](), 0
        async with layer_at(kafka_broker, create_topics=4) as layer:
            await layer.publish([record(topic, i) for i in range(total)])
            async with anyio.create_task_group() as tasks:

                async def member(stop_after: int) -> None:
                    nonlocal twice
                    async with feed_of(layer, topic, group, in_flight=50) as feed:
                        mine = 0
                        while mine < stop_after and len(acked) < total:
                            batch = ()
                            with anyio.move_on_after(0.5):
                                batch = await feed.receive(20)
                            if not batch:
                                continue
                            await anyio.sleep(0.002)
                            answers = await feed.settle(
                                [Settlement(one.token, Verb.ACK) for one in batch]
                            )
                            for one, answer in zip(batch, answers, strict=True):
                                if answer is Outcome.CONFIRMED:
                                    twice += int(one.record.body) in acked
                                    acked.add(int(one.record.body))
                            mine += len(batch)

                with anyio.fail_after(40):
                    tasks.start_soon(member, total)
                    await anyio.sleep(0.1)
                    tasks.start_soon(member, 400)
                    await anyio.sleep(0.1)
                    tasks.start_soon(member, 200)
                    while len(acked) < total:
                        await anyio.sleep(0.01)
            assert acked == set(range(total))
            assert twice == 0  # confirmed means never again
            await layer.publish([record(topic, -1)])
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [-1]


class TestFeed:
    async def test_a_cancelled_receive_loses_nothing(self, kafka_broker) -> None:
        topic, group = fresh("topic"), fresh("group")
        dice = random.Random(3)
        got: list = []
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, group) as feed:
            for number in range(40):
                with anyio.move_on_after(dice.choice([0, 0.001, 0.003])):
                    while True:
                        got += await feed.receive(10)
                await layer.publish([record(topic, number)])
            got += await take(feed, 40 - len(got))
            assert bodies(got) == list(range(40))
            assert {one.attempt for one in got} == {1}

    async def test_one_settle_of_many_verbs_answers_each(self, kafka_broker) -> None:
        topic, group, dead = fresh("topic"), fresh("group"), fresh("dead")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, group) as feed:
            await layer.publish([record(topic, i) for i in range(4)])
            first, second, third, fourth = await take(feed, 4)
            letter = record(dead, 1)
            illegal = record("no/such/topic", 2)
            outcomes = await feed.settle(
                [
                    Settlement(first.token, Verb.NACK),
                    Settlement(second.token, Verb.REJECT, dead_letter=letter),
                    Settlement(third.token, Verb.REJECT, dead_letter=illegal),
                    Settlement(fourth.token, Verb.ACK),
                ]
            )
            yes = Outcome.CONFIRMED
            refusal = outcomes[2]
            assert outcomes == [yes, yes, refusal, yes]
            assert isinstance(refusal, LayerError)
            assert "no/such/topic" in str(refusal)
            (again,) = await take(feed, 1)
            assert (bodies([again]), again.attempt) == ([0], 2)
            await ack(feed, [again, third])  # it stayed owed, so it can be settled
            with anyio.fail_after(SOON):
                async with feed_of(layer, dead, group) as letters:
                    assert (await letters.receive(1))[0].record == letter

    async def test_a_full_window_keeps_its_membership(self, kafka_broker) -> None:
        """A held message does not stop the heartbeats, and room is used as soon as there is any."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(2)])
            async with feed_of(layer, topic, group, in_flight=1) as feed:
                held = await take(feed, 1)
                await anyio.sleep(1.5)  # past a sign of life
                await ack(feed, held)
                assert bodies(await take(feed, 1)) == [1]
