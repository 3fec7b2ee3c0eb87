"""Kafka when something is wrong: no topic, no server, killed, hanging, trimmed, made anew."""

import gc
import time

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from acked import (
    ConnectionLost,
    LayerError,
    PublishFailed,
)
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from acked.types import Outcome, Settlement, Severity, Verb
from tests.layers.kafka_kit import (
    SOON,
    ack,
    admin_of,
    bodies,
    feed_of,
    layer_at,
    producer_of,
    record,
    take,
)

pytestmark = pytest.mark.anyio


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

    async def test_a_topic_that_the_brokers_would_not_make_is_refused_with_why(
        self, kafka_broker
    ) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker, replicas=3) as layer:
            with pytest.raises(LayerError, match=r"InvalidReplicationFactor.*replicas="):
                async with feed_of(layer, topic, "g"):
                    pass
        async with admin_of(kafka_broker) as admin:
            assert topic not in await admin.list_topics()

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
                (reply,) = await feed.settle([Settlement(two.token, Verb.ACK)])
                assert isinstance(reply, ConnectionLost)
                assert isinstance(reply.__cause__, TimeoutError)
                with pytest.raises(PublishFailed) as caught:
                    await layer.publish([record(topic, 2)])
                assert caught.value.indeterminate
                left = time.monotonic()
            assert time.monotonic() - left < 10
            broker.resume()
            with anyio.fail_after(2 * SOON):
                while await self._first_of(layer, topic) != [0]:
                    await anyio.sleep(0.1)

    async def test_leaving_while_the_group_is_joined_again_is_bounded(self, private_broker) -> None:
        broker = private_broker("kafka")
        topic = fresh("topic")
        async with layer_at(broker, timeout=1.0) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, "g") as feed:
                (one,) = await take(feed, 1)
                await feed.settle([Settlement(one.token, Verb.NACK, delay=60.0)])
                broker.pause()
                with anyio.fail_after(SOON), pytest.raises(ConnectionLost):
                    await feed.receive(1)
                with anyio.move_on_after(0.5):
                    await feed.receive(1)
                left = time.monotonic()
            assert time.monotonic() - left < SOON
            broker.resume()

    async def _first_of(self, layer, topic: str) -> list[int]:
        """Return what comes first, or nothing while the broker takes itself for dead."""
        try:
            await layer.publish([record(topic, 3)])
            async with feed_of(layer, topic, "g") as feed:
                return bodies(await take(feed, 1))
        except LayerError:
            return []


class TestLostLogs:
    """H7, row 39: what the broker deletes under a group is told, and reading goes on."""

    async def test_records_deleted_before_a_group_read_them_are_counted(
        self, kafka_broker, caplog
    ) -> None:
        """In mid-stream, and between two consumers of the group."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer, admin_of(kafka_broker) as admin:
            # So large that no more than a few are fetched ahead.
            await layer.publish([record(topic, str(i).ljust(500_000)) for i in range(16)])
            async with feed_of(layer, topic, group, in_flight=2) as feed:
                got = await take(feed, 2)
                await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(12)})
                while bodies(got)[-1] < 13:
                    await ack(feed, got[-1:])
                    got += await take(feed, 1)
                there = [0, *bodies(got)[1:]]
                missed = 14 - len(set(there))
                assert there == [*range(12 - missed), 12, 13]
                assert layer.trimmed == missed >= 4
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(15)})
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [15]
            assert layer.trimmed > missed
            findings = {finding.name: finding for finding in await layer.check()}
            assert findings["trimmed"].value == layer.trimmed
            assert findings["trimmed"].severity is Severity.WARNING
        assert f"up to {missed} record(s) were deleted" in caplog.text

    async def test_an_offset_beyond_the_log_is_not_waited_for(self, kafka_broker, caplog) -> None:
        """As after a truncation: it begins with the oldest, says so, and commits from there on."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(3)])
            place = TopicPartition(topic, 0)
            at = kafka_broker.url.removeprefix("kafka://")
            other = AIOKafkaConsumer(bootstrap_servers=at, group_id=group, enable_auto_commit=False)
            await other.start()
            other.assign([place])
            await other.commit({place: 999})
            await other.stop()
            async with feed_of(layer, topic, group) as feed:
                got = await take(feed, 3)
                assert bodies(got) == [0, 1, 2]
                await ack(feed, got[:2])
            assert "ends before offset 999" in caplog.text
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [2]

    async def test_a_topic_made_anew_is_read_from_its_first_record(self, kafka_broker) -> None:
        """H5: the old offsets mean nothing there; deliveries of the old one are lost leases."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer, admin_of(kafka_broker) as admin:
            await layer.publish([record(topic, i) for i in range(5)])
            async with feed_of(layer, topic, group) as feed:
                old = await take(feed, 5)
                await ack(feed, old[:4])
                await admin.delete_topics([topic])
                await admin.create_topics([NewTopic(topic, 1, 1)])
                async with producer_of(kafka_broker) as producer:
                    await producer.send_and_wait(topic, b"100")
                again: list = []
                with anyio.fail_after(2 * SOON):
                    while not again:
                        try:
                            again = list(await feed.receive(1))
                        except LayerError as error:
                            if not error.may_pass:
                                raise
                assert bodies(again) == [100]
                late = await feed.settle([Settlement(old[4].token, Verb.ACK)])
                assert late == [Outcome.LOST]
                await ack(feed, again)
            async with producer_of(kafka_broker) as producer:
                await producer.send_and_wait(topic, b"101")
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [101]

    async def test_a_deleted_topic_is_not_a_silent_consumer(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, admin_of(kafka_broker) as admin:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, "g") as feed:
                await ack(feed, await take(feed, 1))
                await admin.delete_topics([topic])
                with anyio.fail_after(2 * SOON), pytest.raises(LayerError, match=topic) as caught:
                    await feed.receive(1)
                assert caught.value.may_pass
                assert not isinstance(caught.value, ConnectionLost)


@pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaConnection:ResourceWarning")
class TestCancelled:
    async def test_connecting_cancelled_at_any_moment_leaves_nothing_open(
        self, kafka_broker, caplog
    ) -> None:
        """aiokafka tells the event loop of a connection that it forgot, once that is collected."""
        for milliseconds in range(40):
            with anyio.move_on_after(milliseconds / 4000):
                async with layer_at(kafka_broker):
                    pass
        gc.collect()
        assert not [line for line in caplog.messages if "Unclosed" in line]
