"""The laws of news on the memory layer, on asyncio and trio."""

import pytest

from acked.abc import Layer
from acked.conformance import Harness
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.layers.memory import MemoryLayer


class MemoryHarness(Harness):
    shares_layer = True

    def __init__(self) -> None:
        self._layer = MemoryLayer()

    def layer(self) -> Layer:
        return self._layer


class TestMemory(FireAndForgetLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()
