"""The laws on Redis Streams, in real time, on a real server."""

import pytest
from redis.asyncio import Redis

from acked.conformance import AckLayerLaws
from acked.conformance.harness import Remains
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.redis_streams._scripts import FREE, PARKED
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

    async def kept(self, topic: str, group: str) -> Remains:
        """Count whom the group knows beside those that have what nobody has."""
        async with Redis.from_url(self.broker.url) as client:
            if group.encode() not in [one["name"] for one in await client.xinfo_groups(topic)]:
                return Remains(leases=0, consumers=0)
            known = await client.xinfo_consumers(topic, group)
        alive = [one for one in known if one["name"] not in {FREE, PARKED}]
        return Remains(leases=sum(one["pending"] for one in alive), consumers=len(alive))


class TestRedisStreams(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> RedisStreamsHarness:
        broker = module_broker("redis")
        between = proxy(broker)
        url = between.url.replace("redis://", "redis-streams://") + "?timeout=2"
        return RedisStreamsHarness(broker, between, url, RedisStreamsLayer.from_url)
