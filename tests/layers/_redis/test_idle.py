"""An idle subscription on Redis costs next to nothing (F5)."""

import time
from contextlib import AsyncExitStack, suppress

import anyio
import pytest

from acked import Channel, Topic
from acked.codecs import RAW
from acked.errors import ChannelClosed
from acked.layers.redis_streams import RedisStreamsLayer
from tests.layers.redis_cluster_kit import names
from tests.layers.redis_streams.kit import fresh

pytestmark = pytest.mark.anyio

SECONDS = 5.0
BOUND = 0.01
"""Of one core."""


SUBSCRIPTIONS = 5
COMMANDS = 3
"""A second for each subscription, as the server counts them: also those within scripts."""


async def share_of_a_core() -> float:
    """Return how busy this process is while it does nothing but wait."""
    await anyio.sleep(0.5)  # entering is over
    before = time.process_time()
    await anyio.sleep(SECONDS)
    return (time.process_time() - before) / SECONDS


async def test_idle_subscriptions_to_streams(redis_broker) -> None:
    async def wait(subscription) -> None:
        with suppress(ChannelClosed):
            await anext(subscription)

    async with (
        Channel(RedisStreamsLayer(redis_broker.url)) as channel,
        anyio.create_task_group() as waiting,
        AsyncExitStack() as entered,
    ):
        for _ in range(SUBSCRIPTIONS):
            topic = Topic(fresh("idle"), bytes, codec=RAW)
            subscription = channel.subscribe(topic, group="g")
            waiting.start_soon(wait, await entered.enter_async_context(subscription))
        await anyio.sleep(0.5)  # so are the first looks
        info = channel.layer.client.info
        before = (await info("stats"))["total_commands_processed"]
        share = await share_of_a_core()
        commands = (await info("stats"))["total_commands_processed"] - before
    assert share < BOUND
    assert commands < COMMANDS * SUBSCRIPTIONS * SECONDS


async def test_an_idle_subscription_to_streams_in_three_slots(redis_cluster) -> None:
    url = f"redis-streams://127.0.0.1:{redis_cluster.nodes[0].port}?cluster=1"
    topics = [Topic(name, bytes, codec=RAW) for name in names(redis_cluster)]
    async with Channel.from_url(url) as channel, channel.subscribe(*topics, group="g"):
        assert await share_of_a_core() < BOUND


async def test_an_idle_subscription_to_news(redis_broker) -> None:
    url = redis_broker.url.replace("redis://", "redis-pubsub://")
    topics = [Topic(fresh("idle"), bytes, codec=RAW) for _ in range(3)]
    channel = Channel.from_url(url, fire_and_forget=True)
    async with channel, channel.subscribe(*topics):
        assert await share_of_a_core() < BOUND
