"""The demo as a newcomer runs it: real processes, a real SIGKILL, a real queue."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from compose.lifecycle import Broker
from tests.cli.running import finished, helpers_of, said, started

SMALL = ("demo", "--count", "300", "--lease", "0.8")

pytestmark = pytest.mark.crash


def lines(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"line": {number}}}\n' for number in range(1, count + 1)))
    return path


def wait_until(is_so: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_killing_a_worker_loses_nothing_on_sqlite(tmp_path: Path) -> None:
    status, out, err = finished(*SMALL, "--json", temporary=tmp_path)
    result = said(out)
    assert (result.accepted, result.acked, result.lost) == (300, 300, 0)
    assert "SIGKILL" in err
    # It was killed with orders in work, so these came again, to another worker.
    assert result.redelivered >= result.duplicates > 0
    assert result.recovery_seconds is not None
    assert result.recovery_seconds > 0
    assert (result.dead_letters, result.innocent_dead_letters) == (1, 0)
    assert err.count("was killed by the poison order") == 4
    assert status == 0


def test_killing_a_worker_loses_nothing_on_redis(tmp_path: Path, redis_broker: Broker) -> None:
    url = redis_broker.url.replace("redis://", "redis-streams://")
    status, out, _ = finished(*SMALL, "--json", "--url", url, temporary=tmp_path)
    result = said(out)
    assert (result.accepted, result.acked, result.lost, status) == (300, 300, 0, 0)
    assert (result.dead_letters, result.innocent_dead_letters) == (1, 0)
    assert result.redelivered >= result.duplicates > 0


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_the_layer_redis_streams_brings_its_own_server(tmp_path: Path) -> None:
    with started(*SMALL, "--json", "--layer", "redis-streams", temporary=tmp_path) as demo:
        wait_until(lambda: any(p.name() == "redis-server" for p in helpers_of(demo)))
        helpers = helpers_of(demo)
        out, _ = demo.communicate()
    assert said(out).acked == 300
    assert demo.returncode == 0
    assert [one for one in helpers if one.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_a_table_and_progress_is_elsewhere(tmp_path: Path) -> None:
    status, out, err = finished("demo", "--count", "40", "--lease", "0.5", temporary=tmp_path)
    for row in (
        *("accepted", "acked", "redelivered", "duplicates seen", "lost", "dead letters"),
        "time to recover",
    ):
        assert re.search(rf"{row}\W+\d", out), row
    assert "nothing was lost" in out
    assert "40/40" in err
    assert "40/40" not in out
    assert status == 0


def test_a_file_is_published_line_by_line_and_without_a_count_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", 30)
    words = ("demo", "--json", "--lease", "0.5", "--input", str(path))
    _, out, _ = finished(*words, temporary=tmp_path)
    assert said(out).acked == 30


@pytest.mark.parametrize("count", ["7", "70"])
def test_a_count_cuts_or_repeats_the_file(tmp_path: Path, count: str) -> None:
    path = lines(tmp_path / "mine.jsonl", 30)
    words = ("demo", "--json", "--lease", "0.5", "--input", str(path), "--count", count)
    _, out, _ = finished(*words, temporary=tmp_path)
    assert said(out).acked == int(count)


def test_even_a_single_order_survives_the_worker_that_had_it(tmp_path: Path) -> None:
    words = ("demo", "--count", "1", "--lease", "0.5", "--workers", "2", "--json")
    status, out, _ = finished(*words, temporary=tmp_path)
    result = said(out)
    assert (result.acked, result.duplicates, status) == (1, 1, 0)
    assert result.redelivered >= 1  # once more, where the poison order ended who had it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with started("demo", temporary=tmp_path) as demo:
        wait_until(lambda: len(helpers_of(demo)) == 4)
        helpers = helpers_of(demo)
        demo.send_signal(number)
        _, err = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert err.endswith("stopped\n")
    _, alive = psutil.wait_procs(helpers, timeout=5)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


def test_workers_do_not_outlive_a_demo_that_is_killed(tmp_path: Path) -> None:
    with started("demo", temporary=tmp_path) as demo:
        wait_until(lambda: len(helpers_of(demo)) == 4)
        helpers = helpers_of(demo)
        demo.kill()
        demo.communicate()
    _, alive = psutil.wait_procs(helpers, timeout=15)
    assert alive == []


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_the_server_does_not_outlive_a_demo_that_is_killed(tmp_path: Path) -> None:
    with started("demo", "--layer", "redis-streams", temporary=tmp_path) as demo:
        wait_until(lambda: any(p.name() == "redis-server" for p in helpers_of(demo)))
        helpers = helpers_of(demo)
        demo.kill()
        demo.communicate()
    _, alive = psutil.wait_procs(helpers, timeout=15)
    assert alive == []
    wait_until(lambda: not list(tmp_path.glob("*/redis")))


def test_nothing_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    _, _, err = finished("demo", "--count", "40", "--lease", "0.5", temporary=tmp_path)
    assert "Warning" not in err


def test_the_command_is_installed_by_its_name() -> None:
    words = subprocess.run(
        [Path(sys.executable).with_name("acked"), "--version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert words.stdout.startswith("acked, version ")
