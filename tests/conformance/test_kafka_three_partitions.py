"""The laws on Kafka, in topics of three partitions."""

from collections.abc import Iterator

import pytest

from acked.conformance import AckLayerLaws
from tests.conformance.on_kafka import KafkaHarness, harness_on


class TestKafkaWithThreePartitions(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> Iterator[KafkaHarness]:
        broker = module_broker("kafka")
        with harness_on(broker, proxy(broker), 3) as harness:
            yield harness
