"""Redis Streams used as news, and groups that are removed."""

import contextlib

import anyio
import pytest

from acked import Channel, LayerError, fire_and_forget
from acked.conformance.harness import fresh
from acked.layers.redis_streams import RedisStreamsLayer, _consumer_state, _pulse

pytestmark = pytest.mark.anyio


async def bodies(subscription, count: int) -> list[object]:
    with anyio.fail_after(10):
        return [(await anext(subscription)).body for _ in range(count)]


async def test_a_removed_group_is_owed_nothing_and_leaves_no_keys(redis_broker) -> None:
    topic = fresh("topic")
    async with Channel(RedisStreamsLayer(redis_broker.url)) as channel:
        for group in ("kept", "removed"):
            async with channel.subscribe(topic, group=group) as sub:
                await channel.publish(topic, group)
                delivery = await anext(sub)
                await delivery.nack(delay=60)  # so that there is a moment beside the group
        await channel.remove_group(topic, fresh("unknown"), group="removed")
        await channel.remove_group(topic, group="removed")  # again: a no-op
        client = channel.layer.client
        groups = await client.xinfo_groups(topic)
        assert [one["name"] for one in groups] == [b"kept"]
        assert [key async for key in client.scan_iter(f"acked:{{{topic}}}:removed:*")] == []


async def test_a_group_that_holds_messages_is_not_removed(redis_broker) -> None:
    topic = fresh("topic")
    async with Channel(RedisStreamsLayer(redis_broker.url)) as channel:
        await channel.publish(topic, 1)
        async with channel.subscribe(topic, group="g") as sub:
            held = await anext(sub)
            with pytest.raises(LayerError, match="close its consumers"):
                await channel.remove_group(topic, group="g")
            await held.ack()


async def test_a_group_is_not_removed_under_a_consumer_that_waits(redis_broker) -> None:
    one, other = fresh("topic"), fresh("topic")
    async with (
        Channel(RedisStreamsLayer(redis_broker.url)) as channel,
        Channel(RedisStreamsLayer(redis_broker.url)) as another,
    ):
        async with channel.subscribe(one, group="g"):
            pass
        async with channel.subscribe(other, group="g") as sub:
            await channel.publish(other, 1)
            await (await anext(sub)).ack()
            with pytest.raises(LayerError, match="lives or holds"):
                await another.remove_group(one, other, group="g")
            for topic in (one, other):  # nothing was removed
                assert await channel.layer.client.xinfo_groups(topic) != []
            await channel.publish(other, 2)
            await (await anext(sub)).ack()
        await another.remove_group(one, other, group="g")
        assert await channel.layer.client.xinfo_groups(one) == []


async def test_a_consumer_without_a_message_is_seen_to_live(redis_broker, monkeypatch) -> None:
    monkeypatch.setattr(_pulse, "EVERY", 0.2)
    topic = fresh("topic")
    async with Channel(RedisStreamsLayer(redis_broker.url)) as channel:
        client = channel.layer.client
        async with channel.subscribe(topic, group="g"):
            await anyio.sleep(1.5)
            (row,) = await client.xinfo_consumers(topic, "g")
            assert row["idle"] < 1_000
        assert await client.xinfo_consumers(topic, "g") == []


async def test_a_group_whose_consumer_was_killed_can_be_removed(redis_broker, monkeypatch) -> None:
    monkeypatch.setattr(_consumer_state, "ALIVE", 200)  # milliseconds
    topic = fresh("topic")
    async with Channel(RedisStreamsLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic, group="g"):
            pass
        client = channel.layer.client
        await client.xgroup_createconsumer(topic, "g", "killed")
        with pytest.raises(LayerError, match="lives or holds"):
            await channel.remove_group(topic, group="g")
        with anyio.fail_after(10):
            while await client.xinfo_groups(topic):
                with contextlib.suppress(LayerError):
                    await channel.remove_group(topic, group="g")


async def test_as_news_everybody_hears_everything_and_leaves_no_group(redis_broker) -> None:
    topic = fresh("topic")
    layer = RedisStreamsLayer(redis_broker.url)
    async with Channel(fire_and_forget(layer)) as channel:
        await channel.publish(topic, "before")
        async with channel.subscribe(topic) as one, channel.subscribe(topic) as two:
            for number in range(20):
                await channel.publish(topic, number)
            for news in (one, two):
                assert await bodies(news, 20) == list(range(20))
        assert await layer.client.xinfo_groups(topic) == []


async def test_as_news_nothing_is_missed_or_twice_over_cut_connections(redis_broker, proxy) -> None:
    """The broker keeps what is said while the connection is away: no gap, and nothing twice."""
    topic, way = fresh("topic"), proxy(redis_broker)
    async with (
        Channel(RedisStreamsLayer(redis_broker.url)) as whole,
        Channel(fire_and_forget(RedisStreamsLayer(way.url, timeout=2))) as channel,
        channel.subscribe(topic) as news,
    ):
        for number in range(60):
            await whole.publish(topic, number)
            if number % 20 == 10:
                way.cut()
        with anyio.fail_after(20):
            heard = [await anext(news) for _ in range(60)]
        assert [message.body for message in heard] == list(range(60))
        assert {message.gap for message in heard} == {None}
