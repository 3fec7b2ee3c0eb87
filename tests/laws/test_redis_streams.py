"""The laws on Redis Streams, in real time, on a real server."""

import pytest

from tests.laws.acknowledgement import AcknowledgementLaws
from tests.laws.flow import FlowLaws
from tests.laws.harness import Harness, RealTime
from tests.laws.lifecycle import LifecycleLaws

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def harness(redis_broker) -> Harness:
    return RealTime(redis_broker.url.replace("redis://", "redis-streams://"))


class TestRedisStreams(AcknowledgementLaws, FlowLaws, LifecycleLaws):
    pass
