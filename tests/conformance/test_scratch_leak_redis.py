import pytest
from acked.conformance.laws.modelled import ModelledLaws
from acked.layers.redis_streams import RedisStreamsLayer
from tests.conformance.test_redis_streams import RedisStreamsHarness

pytestmark = pytest.mark.anyio

class TestScratch(ModelledLaws):
    @pytest.fixture
    def anyio_backend(self): return "asyncio"
    @pytest.fixture
    def harness(self, module_broker, proxy):
        broker = module_broker("redis")
        between = proxy(broker)
        url = between.url.replace("redis://", "redis-streams://") + "?timeout=2"
        return RedisStreamsHarness(broker, between, url, RedisStreamsLayer.from_url)
