"""No correct layer is accused, however slow it is: in real time, of which most is waiting."""

import pytest

from acked.conformance import AckLayerLaws, Harness
from tests.conformance.correct_layers import Slow


class SlowHarness(Harness):
    lease = 1.0
    examples = 4
    shares_layer = True

    def __init__(self) -> None:
        self._layer = Slow(clock=self.clock)

    def layer(self) -> Slow:
        return self._layer


class TestSlowLayer(AckLayerLaws):
    @pytest.fixture
    def harness(self) -> SlowHarness:
        return SlowHarness()
