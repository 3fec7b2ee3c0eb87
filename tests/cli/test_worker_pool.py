"""A worker that ends when it should not is told of, with its words; none is left behind."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from acked.demo.failures import Broken
from acked.demo.lifeline import start_child
from acked.demo.worker import POISONED, Assignment
from acked.demo.worker_pool import WorkerPool

pytestmark = pytest.mark.crash

Child = subprocess.Popen[bytes]


class Starting:
    """Starts the test's own program in the place of each worker."""

    def __init__(self) -> None:
        self.fails_at = 0
        self.waits = False
        self.started: list[Child] = []

    def __call__(self, *_words: str, stderr: int) -> Child:
        if len(self.started) + 1 == self.fails_at:
            raise OSError("no more processes")
        child = start_child("worker_of_a_test", stderr=stderr)
        self.started.append(child)
        if self.waits:
            child.wait()
        return child


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Starting:
    starting = Starting()
    monkeypatch.setattr("acked.demo.worker_pool.start_child", starting)
    return starting


@pytest.fixture
def pool_of(
    tmp_path: Path, starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], WorkerPool]:
    def pool(program: str) -> WorkerPool:
        (tmp_path / "worker_of_a_test.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        assignment = Assignment(
            url="nothing://", topic="t", dead="t.dead", poison=9, lease=1.0, work=0.0
        )
        return WorkerPool(2, tmp_path, assignment)

    return pool


def test_one_that_ended_before_it_was_told_its_work_is_told_of(
    pool_of: Callable[[str], WorkerPool], starting: Starting
) -> None:
    starting.waits = True
    with (
        pytest.raises(Broken, match=r"^worker 1 failed: no memory left$"),
        pool_of("import sys; sys.exit('no memory left')") as pool,
    ):
        list(pool.replace_poisoned())


def test_one_that_was_poisoned_is_replaced_and_another_one_is_not(
    pool_of: Callable[[str], WorkerPool], starting: Starting
) -> None:
    poisoned = f"import sys; print({POISONED!r}, file=sys.stderr); sys.exit(9)"
    with pool_of(poisoned) as pool:
        for child in starting.started:
            child.wait()
        assert list(pool.living) == [0, 1]
        assert list(pool.replace_poisoned()) == [
            "worker 1 was killed by the poison order; worker 3 takes its place",
            "worker 2 was killed by the poison order; worker 4 takes its place",
        ]
        assert list(pool.living) == [2, 3]
    assert len(starting.started) == 4


@pytest.mark.anyio
async def test_one_that_cannot_leave_in_order_is_told_of(
    pool_of: Callable[[str], WorkerPool],
) -> None:
    with pool_of("import sys; sys.stdin.read(); sys.exit(3)") as pool:
        assert list(pool.replace_poisoned()) == []
        with pytest.raises(Broken, match=r"^worker 1 failed on leaving: ended with status 3$"):
            await pool.leave()


def test_where_one_cannot_be_started_those_before_it_are_ended(
    pool_of: Callable[[str], WorkerPool], starting: Starting
) -> None:
    starting.fails_at = 2
    with pytest.raises(OSError, match="no more processes"):
        pool_of("import sys; sys.stdin.read()")
    assert len(starting.started) == 1
    assert not psutil.pid_exists(starting.started[0].pid)
