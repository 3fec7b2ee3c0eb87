"""The laws on Kafka, in real time, on a real broker. Its leases are memberships."""

import gc
import warnings
from collections.abc import Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from acked import Start
from acked.conformance import AckLayerLaws
from acked.layers.kafka import KafkaLayer
from tests.conformance.brokered import BrokerHarness

SESSION = 6.0
"""Seconds: the shortest that brokers allow by default."""


class KafkaHarness(BrokerHarness):
    recovery = 2 * SESSION
    examples = 8
    notice = 15.0  # two timeouts, and what it takes on a busy machine

    async def end_leases(self, topic: str, group: str) -> None:
        """Let another member join and leave: each time partitions are distributed anew."""
        async with KafkaLayer.from_url(self.url) as layer:
            async with layer.consume([topic], group, in_flight=1, lease=1, start=Start.EARLIEST):
                pass

    async def refuse(self, topic: str) -> None:
        """Make it with room for no record."""
        servers = self.broker.url.removeprefix("kafka://")
        small = NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1"})
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        try:
            await admin.create_topics([small])
        finally:
            await admin.close()


class TestKafka(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> Iterator[KafkaHarness]:
        broker = module_broker("kafka")
        between = proxy(broker)
        url = f"{between.url}?create_topics=1&timeout=4&session_timeout={SESSION}"
        yield KafkaHarness(broker, between, url, KafkaLayer.from_url)
        # aiokafka forgets a connection that is being made while its client is closed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
