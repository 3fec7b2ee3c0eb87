"""The laws on MQTT, in real time, on a real broker, on asyncio and trio."""

from types import MappingProxyType

import pytest

from acked.conformance import AckLayerLaws
from acked.layers.mqtt import MQTTLayer
from tests.conformance.brokered import BrokerHarness


class MQTTHarness(BrokerHarness):
    examples = 8
    kill_broker = None
    lacks = MappingProxyType(
        {
            "busy": "Mosquitto drops what it has no room for, and tells nobody",
            "forbid": "Mosquitto hangs up over what may not be written, so that nobody knows of its "
            "neighbours, and leaves out in silence what may not be read",
            "kill_broker": "Mosquitto saves its sessions when it is stopped; killed, it has none",
            "set_clock": "MQTT has no lease and no delay of a message that a clock would end",
        }
    )

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
