"""No correct layer is accused, however little it claims."""

import pytest

from acked.conformance import AckLayerLaws, VirtualHarness
from tests.broken_layers.planted import Queue
from tests.conformance.correct_layers import CORRECT


class CorrectHarness(VirtualHarness):
    examples = 40

    def __init__(self, kind: type[Queue]) -> None:
        super().__init__(lambda clock: kind(clock=clock))
        self.refuse = self._refuse

    async def _refuse(self, topic: str) -> None:
        layer = self.layer()
        assert isinstance(layer, Queue)
        await layer.refuse(topic)


class TestCorrectLayers(AckLayerLaws):
    @pytest.fixture(params=CORRECT, ids=lambda kind: kind.__name__)
    def harness(self, request: pytest.FixtureRequest) -> CorrectHarness:
        return CorrectHarness(request.param)
