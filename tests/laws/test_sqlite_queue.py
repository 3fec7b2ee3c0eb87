"""The laws on the SQLite queue, in real time, on asyncio and trio."""

from pathlib import Path

import pytest

from tests.laws.acknowledgement import AcknowledgementLaws
from tests.laws.flow import FlowLaws
from tests.laws.harness import Harness, RealTime
from tests.laws.lifecycle import LifecycleLaws

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return RealTime(f"sqlite-queue://{tmp_path}/queue.db")


class TestSQLiteQueue(AcknowledgementLaws, FlowLaws, LifecycleLaws):
    pass
