"""What a topic may be called, where its messages are then, and what a stranger may put there."""

import os
import tracemalloc
from pathlib import Path

import anyio
import pytest
from acked_folder import FolderLayer

from acked import Record, Start
from acked.types import MAX_TOPIC_BYTES

HOSTILE = [
    "..",
    ".",
    "../outside",
    ".number",
    "/etc/passwd",
    "a/../../outside",
    "nul\0byte",
    "line\nfeed",
    "~",
    "%2E%2E",
    "C:\\outside",
    "x" * MAX_TOPIC_BYTES,
    "\U0001f600" * (MAX_TOPIC_BYTES // 4),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """Every topic is one folder beneath the layer's own."""
    inside = tmp_path / "inside"
    FolderLayer(inside).publish_now(Record(name, b"", "1"))
    assert [one.name for one in tmp_path.iterdir()] == ["inside"]
    (topic,) = inside.iterdir()
    assert [one.name for one in topic.iterdir()] == [".number"]


def test_each_name_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Cut ones too, and those that look like others encoded."""
    names = [*HOSTILE, "x" * (MAX_TOPIC_BYTES - 1), "x" * 150, "..%", ""]
    for name in names:
        FolderLayer(tmp_path).publish_now(Record(name or "-", b"", "1"))
    assert len(list(tmp_path.iterdir())) == len(names)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_has_such_a_name_arrives(tmp_path: Path, name: str) -> None:
    """A topic's name comes back as it was given; the group has it, too."""

    async def main() -> None:
        layer = FolderLayer(tmp_path)
        joined = layer.consume([name], name, in_flight=9, lease=9.0, start=Start.EARLIEST)
        async with layer, joined as feed:
            await layer.publish([Record(name, b"body", "1")])
            with anyio.fail_after(10):
                (leased,) = await feed.receive(9)
        assert (leased.record.topic, leased.record.body) == (name, b"body")

    anyio.run(main)


def test_files_of_somebody_else_stop_no_reader_and_lead_nowhere(tmp_path: Path) -> None:
    """A link to a secret, a pipe, any name, what is no message: the next one is delivered."""
    secret, inside = tmp_path / "secret", tmp_path / "inside"
    secret.write_bytes(b"a secret")

    async def main() -> None:
        layer = FolderLayer(inside)
        joined = layer.consume(["t"], "g", in_flight=9, lease=9.0, start=Start.EARLIEST)
        async with layer, joined as feed:
            group = inside / "t" / "g"
            (group / f"{0:020}.1").symlink_to(secret)
            (group / f"{0:020}.2").write_bytes(b"\xff no message")
            (group / f"{0:020}.3").mkdir()
            (group / f"{0:020}.4").write_bytes(b"\x81\xa1x" + b"\x91" * 100_000)  # very deep
            os.mkfifo(group / f"{0:020}.5")
            for name in ("notes.txt", "1", "1.2.3", "a.b", f"{0:020}.1.x.y", "\u0661" * 20 + ".1"):
                (group / name).write_bytes(b"")
            await layer.publish([Record("t", b"ours", "1")])
            with anyio.fail_after(10):
                (leased,) = await feed.receive(9)
        assert leased.record.body == b"ours"

    anyio.run(main)
    assert secret.read_bytes() == b"a secret"


def test_files_without_end_fill_no_memory(tmp_path: Path) -> None:
    """One that is larger than any message is set aside unread; of large ones a few are taken."""

    async def main() -> int:
        layer = FolderLayer(tmp_path)
        joined = layer.consume(["t"], "g", in_flight=100, lease=9.0, start=Start.EARLIEST)
        async with layer, joined as feed:
            with (tmp_path / "t" / "g" / f"{0:020}.1").open("wb") as endless:
                endless.truncate(1 << 30)
            await layer.publish([Record("t", bytes(1 << 20), str(n)) for n in range(50)])
            tracemalloc.start()
            try:
                with anyio.fail_after(10):
                    first, *_ = await feed.receive(100)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert first.record.id == "0"
        return peak

    assert anyio.run(main) < 16 << 20
