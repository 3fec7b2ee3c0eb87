"""The laws on both Redis layers on a cluster of three masters, whose nodes are killed."""

from collections.abc import Callable

import pytest
from anyio.to_thread import run_sync

from acked.abc import Layer
from acked.conformance import AckLayerLaws
from acked.conformance.harness import Harness
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from compose.redis.cluster import RedisCluster


class ClusterHarness(Harness):
    """Without a proxy: the nodes name their own addresses."""

    recovery = 4.0

    def __init__(self, cluster: RedisCluster, url: str, make: Callable[[str], Layer]) -> None:
        port = cluster.nodes[0].port
        self.cluster = cluster
        self.url = url.format(port=port)
        self._make = make

    def layer(self) -> Layer:
        assert self.url is not None
        return self._make(self.url)

    async def restart_broker(self) -> None:
        for node in self.cluster.nodes:
            await run_sync(node.stop)
        await run_sync(self.cluster.start)

    async def kill_broker(self) -> None:
        for node in self.cluster.nodes:
            await run_sync(node.kill)
        await run_sync(self.cluster.start)


class TestRedisStreamsOnACluster(AckLayerLaws):
    @pytest.fixture
    def harness(self, redis_cluster) -> ClusterHarness:
        url = "redis-streams://127.0.0.1:{port}?cluster=1&timeout=2"
        return ClusterHarness(redis_cluster, url, RedisStreamsLayer.from_url)


class TestShardedRedisPubSub(FireAndForgetLaws):
    @pytest.fixture
    def harness(self, redis_cluster) -> ClusterHarness:
        url = "redis-pubsub://127.0.0.1:{port}?sharded=1&heartbeat=2&timeout=5"
        return ClusterHarness(redis_cluster, url, RedisPubSubLayer.from_url)
