"""The laws on Redis Streams, in real time, on a real server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from acked.conformance import AckLayerLaws
from acked.conformance.harness import Call, Remains
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.redis_streams._scripts import FREE, PARKED
from tests.conformance.brokered import StoringHarness
from tests.conformance.clocks import wrong_clock


class RedisStreamsHarness(StoringHarness):
    recovery = 4.0  # two leases, and what starting to read costs on a busy machine
    examples = 10

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.set_clock = wrong_clock

    async def refuse(self, topic: str) -> None:
        """Let its key be of another type."""
        async with Redis.from_url(self.broker.url) as client:
            await client.set(topic, "taken")

    @asynccontextmanager
    async def busy(self, call: Call) -> AsyncGenerator[None]:
        """Be full for who publishes, and without replicas for whoever else writes."""
        option = "maxmemory" if call == "publish" else "min-replicas-to-write"
        async with Redis.from_url(self.broker.url) as client:
            await client.config_set(option, 1)
            try:
                yield
            finally:
                await client.config_set(option, 0)

    @asynccontextmanager
    async def forbid(self, call: Call) -> AsyncGenerator[None]:
        async with Redis.from_url(self.broker.url) as client:
            await client.execute_command("ACL", "SETUSER", "default", "-@write")
            try:
                yield
            finally:
                await client.execute_command("ACL", "SETUSER", "default", "+@all")

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
