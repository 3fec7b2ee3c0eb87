"""What every test of the queue file has: a place for one."""

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"
