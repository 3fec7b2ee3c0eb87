"""The laws on Kafka, in topics of one partition."""

from collections.abc import Iterator

import pytest

from acked.conformance import AckLayerLaws
from compose.lifecycle import Broker
from tests.conformance.on_kafka import KafkaHarness, guarded_kafka, harness_on


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    with guarded_kafka() as broker:
        yield broker


class TestKafka(AckLayerLaws):
    @pytest.fixture
    def harness(self, guarded, proxy) -> Iterator[KafkaHarness]:
        with harness_on(guarded, proxy(guarded), 1) as harness:
            yield harness
