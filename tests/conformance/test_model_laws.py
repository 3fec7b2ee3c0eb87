"""The laws of the model on the memory queue, on asyncio and trio."""

import pytest

from acked.conformance import VirtualHarness
from acked.conformance.laws.modelled import ModelledLaws
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio


class TestMemoryQueue(ModelledLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self) -> VirtualHarness:
        return VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))
