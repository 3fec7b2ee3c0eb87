"""What a topic may be called, and where its messages are then."""

from pathlib import Path

import pytest
from acked_folder import FolderLayer

from acked import Record

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["..", ".", "../outside", ".number"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    async with FolderLayer(inside) as layer:
        await layer.publish([Record(name, b"", "1")])
    assert [one.name for one in tmp_path.iterdir()] == ["inside"]
    (topic,) = inside.iterdir()
    assert [one.name for one in topic.iterdir()] == [".number"]
