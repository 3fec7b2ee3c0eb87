"""The laws on the in-memory queue, by a virtual clock, on asyncio and trio."""

from typing import Final

import pytest

from acked import Record
from acked.conformance import AckLayerLaws, VirtualHarness
from acked.conformance.harness import Remains
from acked.layers.memory_queue import MemoryQueueLayer
from tests.conformance.clocks import wrong_clock
from tests.conformance.remains import kept_in_memory

BACKLOG: Final = 2000
"""More than any law publishes to one topic."""


class MemoryQueueHarness(VirtualHarness):
    def __init__(self) -> None:
        super().__init__(lambda clock: MemoryQueueLayer(clock=clock, max_backlog=BACKLOG))
        self.set_clock = wrong_clock

    async def refuse(self, topic: str) -> None:
        """Fill the topic up."""
        await self.layer().publish([Record(topic, b"", str(n)) for n in range(BACKLOG)])

    async def kept(self, topic: str, group: str) -> Remains:
        layer = self.layer()
        assert isinstance(layer, MemoryQueueLayer)
        return kept_in_memory(layer, topic, group)


class TestMemoryQueue(AckLayerLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self) -> MemoryQueueHarness:
        return MemoryQueueHarness()
