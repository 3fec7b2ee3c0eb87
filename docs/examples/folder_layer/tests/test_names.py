"""What a topic may be called, and where its messages are then."""

from pathlib import Path

import pytest
from acked_folder import FolderLayer

from acked import Record


@pytest.mark.parametrize("name", ["..", ".", "../outside", ".number"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """Every topic is one folder beneath the layer's own."""
    inside = tmp_path / "inside"
    FolderLayer(inside).publish_now(Record(name, b"", "1"))
    assert [one.name for one in tmp_path.iterdir()] == ["inside"]
    (topic,) = inside.iterdir()
    assert [one.name for one in topic.iterdir()] == [".number"]
