"""The laws of news on Redis pub/sub, on a real server."""

import pytest

from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.layers.redis_pubsub import RedisPubSubLayer
from tests.conformance.brokered import BrokerHarness


class TestRedisPubSub(FireAndForgetLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> BrokerHarness:
        broker = module_broker("redis")
        between = proxy(broker)
        url = between.url.replace("redis://", "redis-pubsub://") + "?heartbeat=2&timeout=5"
        return BrokerHarness(broker, between, url, RedisPubSubLayer.from_url)
