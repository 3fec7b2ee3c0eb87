"""The laws of `acked` on the folder layer: all that its author has to write."""

from pathlib import Path

import pytest
from acked_folder import FolderLayer

from acked.conformance import AckLayerLaws, Harness


class FolderHarness(Harness):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"folder://{path}"  # where a child process finds the same folder

    def layer(self) -> FolderLayer:
        return FolderLayer(self.path)


class TestFolder(AckLayerLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self, tmp_path: Path) -> FolderHarness:
        return FolderHarness(tmp_path)
