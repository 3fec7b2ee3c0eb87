"""The laws on Redis Streams, in real time, on a real server."""

import pytest
from redis.asyncio import Redis

from acked.conformance import AckLayerLaws
from acked.layers.redis_streams import RedisStreamsLayer
from tests.conformance.brokered import BrokerHarness


class RedisStreamsHarness(BrokerHarness):
    recovery = 4.0  # two leases, and what starting to read costs on a busy machine
    examples = 10

    async def refuse(self, topic: str) -> None:
        """Let its key be of another type."""
        async with Redis.from_url(self.broker.url) as client:
            await client.set(topic, "taken")

    async def wipe(self, topic: str) -> None:
        async with Redis.from_url(self.broker.url) as client:
            await client.flushall()


class TestRedisStreams(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> RedisStreamsHarness:
        broker = module_broker("redis")
        between = proxy(broker)
        url = between.url.replace("redis://", "redis-streams://") + "?timeout=2"
        return RedisStreamsHarness(broker, between, url, RedisStreamsLayer.from_url)
