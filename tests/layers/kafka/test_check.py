"""What the layer tells of itself: `check()`, lag, and that waiting costs nothing."""

import time

import anyio
import pytest
from aiokafka.admin import NewTopic

from acked import Channel, LayerError
from acked.conformance.harness import fresh
from acked.types import Finding, Severity
from tests.layers.kafka_kit import SOON, ack, admin_of, feed_of, layer_at, producer_of, record, take

pytestmark = pytest.mark.anyio

RISKY = {
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "true",
    "retention.ms": "60000",
    "max.message.bytes": "1000",
    "cleanup.policy": "compact",
}


async def found_by(layer) -> dict:
    async with Channel(layer) as channel:
        return {finding.name: finding for finding in await channel.check()}


async def overdue_of(layer) -> Finding:
    return next(finding for finding in await layer.check() if finding.name == "overdue")


class TestCheck:
    async def test_a_broker_of_its_own_is_told_of(self, kafka_broker) -> None:
        """Before any topic is used: what the broker would give a new one."""
        found = await found_by(layer_at(kafka_broker))
        assert found["brokers"].value == 1
        assert found["replication_factor"].severity is Severity.WARNING
        assert found["unclean_leader_election"].value is False
        assert found["auto_create_topics"].value is False
        assert found["offset_metadata_max_bytes"].value == 4096
        assert found["offsets_retention"].value == 7 * 24 * 3600
        assert found["retention"].value == 7 * 24 * 3600
        assert found["trimmed"].value == 0

    async def test_a_risky_topic_is_a_warning_in_its_name(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with admin_of(kafka_broker) as admin:
            await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=RISKY)])
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, 1, key="k")
            found = {finding.name: finding for finding in await channel.check()}
        risky = {"replication_factor", "unclean_leader_election", "max_message_bytes"}
        risky |= {"cleanup_policy"}
        assert {name for name, one in found.items() if one.severity is Severity.WARNING} == risky
        assert all(topic in found[name].message for name in (*risky, "retention"))
        assert found["retention"].value == 60

    async def test_what_is_not_settled_in_half_of_its_time_is_a_warning(self, kafka_broker) -> None:
        topic, group, minute = fresh("topic"), fresh("group"), {"retention.ms": "60000"}
        async with admin_of(kafka_broker) as admin:
            await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=minute)])
        async with producer_of(kafka_broker) as producer:
            for age in (45, 40, 35, 20, 0):
                moment = int((time.time() - age) * 1000)
                await producer.send_and_wait(topic, b"1", partition=age % 2, timestamp_ms=moment)
        async with layer_at(kafka_broker) as layer:
            async with feed_of(layer, topic, group) as feed:
                leased = await take(feed, 5)
                overdue = await overdue_of(layer)
                assert (overdue.value, overdue.severity) == (3, Severity.WARNING)
                await ack(feed, leased)
                overdue = await overdue_of(layer)
                assert (overdue.value, overdue.severity) == (0, Severity.OK)
            await layer.remove_group([topic], group)
            assert (await overdue_of(layer)).value == 0

    async def test_more_copies_asked_for_than_there_are_is_no_refusal(self, kafka_broker) -> None:
        """Row 29: it said that nothing is accepted, and the broker accepts."""
        topic, settings = fresh("topic"), {"min.insync.replicas": "2"}
        async with admin_of(kafka_broker) as admin:
            await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 1)])
            found = {finding.name: finding for finding in await layer.check()}
        assert found["min_insync_replicas"].severity is Severity.WARNING
        assert "settle for those" in found["min_insync_replicas"].message

    async def test_a_closed_layer_says_so(self, kafka_broker) -> None:
        with pytest.raises(LayerError, match="not open"):
            await layer_at(kafka_broker).check()


class TestLag:
    async def test_it_is_what_was_not_handed_out(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish_many(topic, range(100))
            async with channel.subscribe(topic, group="g", in_flight=10) as subscription:
                ten = [await anext(subscription) for _ in range(10)]
                assert subscription.statistics().lag == 90
                for delivery in ten:
                    await delivery.ack()
                for _ in range(90):
                    await (await anext(subscription)).ack()
                with anyio.fail_after(SOON):
                    while subscription.statistics().lag != 0:
                        await anyio.sleep(0.05)

    async def test_it_is_unknown_before_the_broker_told(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            assert feed.lag() in {None, 0}
            await layer.publish([record(topic, 1)])
            await ack(feed, await take(feed, 1))
            assert feed.lag() == 0


async def test_an_idle_subscription_takes_less_than_a_hundredth_of_a_core(kafka_broker) -> None:
    """F5: heartbeats, fetches that wait and metadata are all there is."""
    topic = fresh("topic")
    async with Channel(layer_at(kafka_broker, session_timeout=10.0)) as channel:
        await channel.publish(topic, 1)
        async with channel.subscribe(topic, group="g") as subscription:
            await (await anext(subscription)).ack()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, subscription)
                await anyio.sleep(1)
                used, began = time.process_time(), time.monotonic()
                await anyio.sleep(6)
                share = (time.process_time() - used) / (time.monotonic() - began)
                tasks.cancel_scope.cancel()
    assert share <= 0.01
