"""The laws on Kafka, in topics of one partition."""

from collections.abc import Iterator

import pytest

from acked.conformance import AckLayerLaws
from tests.conformance.on_kafka import KafkaHarness, harness_on


class TestKafka(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> Iterator[KafkaHarness]:
        broker = module_broker("kafka")
        with harness_on(broker, proxy(broker), 1) as harness:
            yield harness
