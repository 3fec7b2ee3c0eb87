"""MQTT used as news, and groups that are removed."""

import anyio
import pytest

from acked import CapabilityError, Channel, fire_and_forget
from acked.conformance.harness import fresh
from acked.layers.mqtt import MQTTLayer

pytestmark = pytest.mark.anyio


async def test_a_removed_group_is_owed_nothing(mqtt_broker) -> None:
    """Its session is gone at the broker: what was kept for it, too."""
    topic = fresh("topic")
    async with Channel(MQTTLayer(mqtt_broker.url)) as channel:
        for group in ("kept", "removed"):
            async with channel.subscribe(topic, group=group):
                pass
        await channel.publish(topic, "before")
        await channel.remove_group(topic, group="removed")
        await channel.remove_group(topic, group="removed")  # again: a no-op
        async with channel.subscribe(topic, group="removed") as sub:
            await channel.publish(topic, "after")
            with anyio.fail_after(10):
                delivery = await anext(sub)
            assert delivery.body == "after"
            await delivery.ack()
        async with channel.subscribe(topic, group="kept") as sub:
            with anyio.fail_after(10):
                for body in ("before", "after"):
                    delivery = await anext(sub)
                    assert delivery.body == body
                    await delivery.ack()


async def test_a_shared_groups_sessions_are_its_members(mqtt_broker) -> None:
    layer = MQTTLayer(mqtt_broker.url, shared=True, client_id="one")
    async with Channel(layer) as channel:
        with pytest.raises(CapabilityError, match="cannot remove"):
            await channel.remove_group(fresh("topic"), group="g")


async def test_as_news_everybody_hears_everything(mqtt_broker) -> None:
    topic = fresh("topic")
    async with Channel(fire_and_forget(MQTTLayer(mqtt_broker.url))) as channel:
        await channel.publish(topic, "to nobody, which is no failure")
        async with channel.subscribe(topic) as one, channel.subscribe(topic) as two:
            for number in range(10):
                await channel.publish(topic, number)
            with anyio.fail_after(10):
                for news in (one, two):
                    assert [(await anext(news)).body for _ in range(10)] == list(range(10))
