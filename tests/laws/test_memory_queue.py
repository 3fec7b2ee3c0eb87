"""The laws on the in-memory queue, by a virtual clock, on asyncio and trio."""

import pytest

from acked.layers.memory_queue import MemoryQueueLayer
from tests.laws.acknowledgement import AcknowledgementLaws
from tests.laws.flow import FlowLaws
from tests.laws.harness import Harness, VirtualTime
from tests.laws.lifecycle import LifecycleLaws

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def harness() -> Harness:
    return VirtualTime(lambda clock: MemoryQueueLayer(clock=clock))


class TestMemoryQueue(AcknowledgementLaws, FlowLaws, LifecycleLaws):
    pass
