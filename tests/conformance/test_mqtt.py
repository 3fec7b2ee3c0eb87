"""The laws on MQTT, in real time, on a real broker, on asyncio and trio."""

import pytest

from acked.conformance import AckLayerLaws
from acked.layers.mqtt import MQTTLayer
from tests.conformance.brokered import BrokerHarness


class MQTTHarness(BrokerHarness):
    examples = 8
    # Mosquitto saves its sessions when it is stopped: killed, it has forgotten them.
    kill_broker = None

    async def end_leases(self, topic: str, group: str) -> None:
        self.proxy.cut()

    async def refuse(self, topic: str) -> None:
        """Do nothing: no session subscribes to the topic, so the broker would keep nothing."""

    async def wipe(self, topic: str) -> None:
        await BrokerHarness.kill_broker(self)


class TestMQTT(AckLayerLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self, module_broker, proxy) -> MQTTHarness:
        broker = module_broker("mqtt")
        between = proxy(broker)
        url = f"{between.url}?timeout=2&keepalive=1"
        return MQTTHarness(broker, between, url, MQTTLayer.from_url)
