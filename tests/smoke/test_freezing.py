"""A frozen server does nothing more, though it is all threads and the machine has other work."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from compose.native.process import ServerProcess, wait_until

BUSY = """
import threading
import zlib
for _ in range(8):
    threading.Thread(target=lambda: [zlib.crc32(bytes(1_000_000)) for _ in iter(int, 1)]).start()
"""
"""Threads that run at the same time, as those of a JVM do."""


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[ServerProcess]:
    command = [sys.executable, "-c", BUSY]
    process = ServerProcess.spawn(command, folder=tmp_path, log_path=tmp_path / "log", user=None)
    assert wait_until(lambda: psutil.Process(process.pid).num_threads() == 9, 20)
    yield process
    process.kill()
    assert process.wait(5)


def test_no_thread_runs_when_freezing_returned(busy: ServerProcess) -> None:
    states: list[str] = []
    for _ in range(50):
        assert busy.freeze()
        tasks = Path(f"/proc/{busy.pid}/task").glob("*/stat")
        states += [task.read_text().rpartition(")")[2].split()[0] for task in tasks]
        busy.send_to_tree(signal.SIGCONT)
    assert set(states) == {"T"}
    assert len(states) == 50 * 9


def test_there_is_nothing_to_freeze_when_it_has_ended(busy: ServerProcess) -> None:
    busy.kill()
    assert not busy.freeze()
