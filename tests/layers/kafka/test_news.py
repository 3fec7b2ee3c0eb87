"""Kafka used as news, and groups that are removed."""

import anyio
import pytest

from acked import Channel, ConnectionLost, LayerError, fire_and_forget
from acked.conformance.harness import fresh
from tests.layers.kafka_kit import SOON, admin_of, layer_at

pytestmark = pytest.mark.anyio


async def groups_at(broker) -> set[str]:
    async with admin_of(broker) as admin:
        return {name for name, *_ in await admin.list_consumer_groups()}


async def read(sub, count: int) -> list:
    """Take and ack `count` deliveries; return their bodies."""
    bodies = []
    with anyio.fail_after(SOON):
        for _ in range(count):
            delivery = await anext(sub)
            bodies.append(delivery.body)
            await delivery.ack()
    return bodies


class TestRemoveGroup:
    async def test_a_removed_group_begins_anew(self, kafka_broker) -> None:
        topic, kept, removed = fresh("topic"), fresh("kept"), fresh("removed")
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, "before")
            for group in (kept, removed):
                async with channel.subscribe(topic, group=group) as sub:
                    assert await read(sub, 1) == ["before"]
            await channel.remove_group(topic, group=removed)
            await channel.remove_group(topic, group=removed)  # again: a no-op
            assert {kept, removed} & await groups_at(kafka_broker) == {kept}
            await channel.publish(topic, "after")
            async with channel.subscribe(topic, group=removed) as sub:
                assert await read(sub, 2) == ["before", "after"]
            async with channel.subscribe(topic, group=kept) as sub:
                assert await read(sub, 1) == ["after"]

    async def test_one_with_a_consumer_is_left_as_it_is(self, kafka_broker) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, 1)
            async with channel.subscribe(topic, group=group) as sub:
                with pytest.raises(LayerError, match="close its consumers"):
                    await channel.remove_group(topic, group=group)
                assert await read(sub, 1) == [1]

    async def test_one_that_reads_other_topics_too_is_left_as_it_is(self, kafka_broker) -> None:
        one, two, group = fresh("one"), fresh("two"), fresh("group")
        async with Channel(layer_at(kafka_broker)) as channel:
            async with channel.subscribe(one, two, group=group):
                pass
            with pytest.raises(LayerError, match=f"'{two}', too"):
                await channel.remove_group(one, group=group)
            assert group in await groups_at(kafka_broker)
            await channel.remove_group(one, two, fresh("unknown"), group=group)
            assert group not in await groups_at(kafka_broker)

    async def test_nobody_answers(self, private_broker) -> None:
        broker = private_broker("kafka")
        async with Channel(layer_at(broker, timeout=1.0)) as channel:
            broker.stop()
            with anyio.fail_after(SOON):
                with pytest.raises(ConnectionLost):
                    await channel.remove_group("topic", group="g")


async def test_as_news_everybody_hears_everything_and_leaves_nothing(kafka_broker) -> None:
    """From entering on: what was published before is not news."""
    topic = fresh("topic")
    before = await groups_at(kafka_broker)
    async with Channel(fire_and_forget(layer_at(kafka_broker))) as channel:
        await channel.publish(topic, "before")
        async with channel.subscribe(topic) as one, channel.subscribe(topic) as two:
            assert len(await groups_at(kafka_broker) - before) == 2
            for number in range(10):
                await channel.publish(topic, number)
            with anyio.fail_after(SOON):
                for news in (one, two):
                    assert [(await anext(news)).body for _ in range(10)] == list(range(10))
    assert await groups_at(kafka_broker) == before
