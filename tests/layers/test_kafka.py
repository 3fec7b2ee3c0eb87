"""Kafka beyond the laws: offsets and their notes, gaps, rebalances, faults, foreign records."""

import random
import time
from contextlib import asynccontextmanager

import aiokafka
import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from acked import (
    CapabilityError,
    ConfigurationError,
    ConnectionLost,
    LayerError,
    PublishFailed,
    Start,
)
from acked.layers.kafka import KafkaLayer
from acked.types import Outcome, Record, Settlement, Verb
from tests.laws.harness import fresh

pytestmark = pytest.mark.anyio

SOON = 20.0


def layer_at(broker, **options) -> KafkaLayer:
    settings = {"create_topics": 1, "session_timeout": 6.0} | options
    return KafkaLayer(broker.url.removeprefix("kafka://"), **settings)


def record(topic: str, body: object, **fields) -> Record:
    return Record(topic, str(body).encode(), fresh("id"), timestamp=1.5, **fields)


def feed_of(layer: KafkaLayer, topic: str, group: str, *, in_flight=1000, start=Start.EARLIEST):
    return layer.consume([topic], group, in_flight=in_flight, lease=60.0, start=start)


async def take(feed, count: int) -> list:
    got: list = []
    with anyio.fail_after(SOON):
        while len(got) < count:
            got += await feed.receive(count - len(got))
    return got


async def ack(feed, leased) -> None:
    outcomes = await feed.settle([Settlement(one.token, Verb.ACK) for one in leased])
    assert set(outcomes) == {Outcome.CONFIRMED}


def bodies(leased) -> list[int]:
    return [int(one.record.body) for one in leased]


@asynccontextmanager
async def producer_of(broker, **options):
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=broker.url.removeprefix("kafka://"), **options
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


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

    async def test_a_delayed_nack_of_a_revoked_partition_comes_once(self, kafka_broker) -> None:
        """Its timer ends with the partition: the log brings it again, and nothing else does."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, group) as old:
                (leased,) = await take(old, 1)
                nack = Settlement(leased.token, Verb.NACK, delay=0.5)
                assert await old.settle([nack]) == [Outcome.CONFIRMED]
                async with feed_of(layer, topic, group):
                    assert await old.settle([nack]) == [Outcome.LOST]
                (again,) = await take(old, 1)
                assert again.attempt == 1
                await ack(old, [again])
                await layer.publish([record(topic, 1)])
                await anyio.sleep(0.5)
                assert bodies(await take(old, 1)) == [1]


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
            assert outcomes == [yes, yes, Outcome.UNKNOWN, yes]
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


class TestRecords:
    async def test_a_record_arrives_as_it_was(self, kafka_broker) -> None:
        """A1, A3, A4: headers of the names that dead letters use included."""
        topic = fresh("topic")
        headers = {"acked-id": "x", "acked-timestamp": "y", "leer": "", "ü": "🎉"}
        sent = [
            record(topic, 1, headers=headers, key="schlüssel", content_type="text/plain"),
            Record(topic, b"\x00\xff", "a"),
            Record(topic, b"", "b", timestamp=0.1, key=""),
            Record(topic, bytes(1_000_000), "c"),
        ]
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            receipts = await layer.publish(sent)
            got = await take(feed, 4)
            assert [one.record for one in got] == sent
            assert [one.position for one in got] == [receipt.position for receipt in receipts]

    async def test_a_record_of_another_client_arrives(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            async with producer_of(kafka_broker) as producer:
                headers = [("a", b"1"), ("a", b"\xff")]
                await producer.send_and_wait(topic, None, b"k", headers=headers, timestamp_ms=2500)
            (leased,) = await take(feed, 1)
            assert leased.record == Record(
                topic, b"", f"{topic}/0/0", "k", {"a": "\udcff"}, timestamp=2.5
            )

    async def test_a_record_that_is_too_large_fails_alone(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            big = Record(topic, bytes(2_000_000), "big")
            with pytest.raises(PublishFailed, match="1 of 3") as caught:
                await layer.publish([record(topic, 0), big, record(topic, 1)])
            assert set(caught.value.failures) == {1}
            assert not caught.value.indeterminate
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 2)) == [0, 1]

    async def test_a_record_the_broker_refuses_does_not_spoil_what_comes_after(
        self, kafka_broker
    ) -> None:
        """A10: aiokafka's idempotent producer would be of no use for that partition any more."""
        topic = fresh("topic")
        at = kafka_broker.url.removeprefix("kafka://")
        admin = AIOKafkaAdminClient(bootstrap_servers=at)
        await admin.start()
        await admin.create_topics(
            [NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "900"})]
        )
        await admin.close()
        async with layer_at(kafka_broker) as layer:
            for _ in range(2):
                with pytest.raises(PublishFailed) as caught:
                    await layer.publish([Record(topic, bytes(2000), "big")])
                assert not caught.value.indeterminate
                await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 2)) == [0, 0]


class TestFaults:
    async def test_an_unknown_topic_is_refused_with_what_to_do(self, kafka_broker) -> None:
        """A5: for publishers and consumers, within seconds, and the layer is usable after it."""
        topic, there = fresh("topic"), fresh("there")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(there, 0)])
        async with layer_at(kafka_broker, create_topics=None) as layer:
            with anyio.fail_after(SOON):
                with pytest.raises(PublishFailed, match="create_topics=") as caught:
                    await layer.publish([record(topic, 0), record(there, 1)])
                assert set(caught.value.failures) == {0}
                assert not caught.value.indeterminate
                with pytest.raises(LayerError, match=topic):
                    async with feed_of(layer, topic, "g"):
                        pass
            async with feed_of(layer, there, "g") as feed:
                assert bodies(await take(feed, 2)) == [0, 1]

    async def test_no_server_is_a_lost_connection_without_credentials(self) -> None:
        layer = KafkaLayer.from_url("kafka://me:secret@127.0.0.1:1?timeout=2")
        with anyio.fail_after(SOON), pytest.raises(ConnectionLost) as caught:
            await layer.__aenter__()
        assert "127.0.0.1:1" in str(caught.value)
        assert "secret" not in str(caught.value) + repr(layer)

    async def test_nothing_is_lost_when_the_broker_is_killed_in_mid_stream(
        self, private_broker
    ) -> None:
        """H1: consumption resumes by itself; what was confirmed does not come again."""
        broker = private_broker("kafka")
        topic, group = fresh("topic"), fresh("group")
        accepted, acked, unclear, twice = set[int](), set[int](), set[int](), 0
        async with layer_at(broker, timeout=5.0) as layer:
            async with anyio.create_task_group() as tasks:

                async def publish() -> None:
                    for number in range(400):
                        try:
                            await layer.publish([record(topic, number)])
                        except PublishFailed:
                            continue
                        accepted.add(number)

                async def consume() -> None:
                    nonlocal twice
                    async with feed_of(layer, topic, group, in_flight=20) as feed:
                        while True:
                            try:
                                batch = await feed.receive(5)
                            except ConnectionLost:
                                continue
                            settlements = [Settlement(one.token, Verb.ACK) for one in batch]
                            answers = await feed.settle(settlements)
                            for one, answer in zip(batch, answers, strict=True):
                                if answer is Outcome.CONFIRMED:
                                    twice += int(one.record.body) in acked
                                    acked.add(int(one.record.body))
                                else:
                                    unclear.add(int(one.record.body))

                tasks.start_soon(publish)
                tasks.start_soon(consume)
                with anyio.fail_after(60):
                    while len(acked) < 100:
                        await anyio.sleep(0.01)
                    broker.kill()
                    await anyio.to_thread.run_sync(broker.start)
                    while len(accepted) < 390 or not accepted <= acked | unclear:
                        await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            assert twice == 0
            await layer.publish([record(topic, -1)])
            async with feed_of(layer, topic, group) as feed:
                with anyio.fail_after(SOON):
                    while (number := bodies(await feed.receive(1))[0]) != -1:
                        assert number not in acked

    async def test_a_commit_that_is_not_answered_is_unknown_and_leaving_is_bounded(
        self, private_broker
    ) -> None:
        """G3, C9: with a broker that hangs; and once it goes on the layer is usable again."""
        broker = private_broker("kafka")
        topic = fresh("topic")
        async with layer_at(broker, timeout=2.0) as layer:
            await layer.publish([record(topic, 0), record(topic, 1)])
            async with feed_of(layer, topic, "g") as feed:
                _one, two = await take(feed, 2)
                broker.pause()
                assert await feed.settle([Settlement(two.token, Verb.ACK)]) == [Outcome.UNKNOWN]
                with pytest.raises(PublishFailed) as caught:
                    await layer.publish([record(topic, 2)])
                assert caught.value.indeterminate
                left = time.monotonic()
            assert time.monotonic() - left < 10
            broker.resume()
            await layer.publish([record(topic, 3)])
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 1)) == [0]


class TestOptions:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("kafka://h:1?colour=red", "unknown option 'colour'"),
            ("kafka://h", "host:port"),
            ("kafka://h:1?timeout=soon", "'timeout' must be a number"),
            ("kafka://h:1?timeout=0", "timeout is 0.0"),
            ("kafka://h:1?create_topics=x", "'create_topics' must be a whole number"),
            ("kafka://h:1?read_committed=maybe", "'read_committed' must be true or false"),
            ("kafka://u:p@h:1?sasl_mechanism=NONE", "sasl_mechanism is 'NONE'"),
            ("kafka://h:1?ssl_ca_certs=/no/such/file", "TLS options"),
        ],
    )
    def test_a_wrong_option_is_named(self, url: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            KafkaLayer.from_url(url)

    def test_the_address_is_shown_and_the_password_is_not(self) -> None:
        layer = KafkaLayer.from_url("kafka://me:p%40ss@one:9092,two:9093?tls=true")
        assert repr(layer) == "<KafkaLayer kafka://one:9092,two:9093, closed>"

    def test_trio_is_refused_with_what_to_do(self) -> None:
        async def main() -> None:
            async with KafkaLayer("localhost:1"):
                pass

        with pytest.raises(CapabilityError, match="asyncio"):
            anyio.run(main, backend="trio")

    async def test_a_closed_layer_says_so(self) -> None:
        with pytest.raises(LayerError, match="not open"):
            await KafkaLayer("localhost:1").publish([record("t", 1)])
