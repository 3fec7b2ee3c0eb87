"""What the commands refuse, in one line, and how they say what they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from acked.cli.commands import acked


def invoke(*words: str) -> Result:
    return CliRunner().invoke(acked, list(words))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--input", "/nowhere/orders.jsonl"], "/nowhere/orders.jsonl: cannot be read"),
        (["--url", "nothing://"], "no layer is called 'nothing'"),
        (["--url", "memory://"], "memory:// has no acknowledgements"),
        (["--url", "memory-queue://"], "memory-queue:// lives in one process"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(words: list[str], reason: str) -> None:
    result = invoke("demo", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert reason in result.stderr


def test_a_broken_line_is_refused_before_anything_is_published(tmp_path: Path) -> None:
    path, queue = tmp_path / "orders.jsonl", tmp_path / "queue.db"
    path.write_text('{"a": 1}\nnot JSON\n')
    result = invoke("demo", "--input", str(path), "--url", f"sqlite-queue://{queue}")
    assert result.exit_code == 2
    assert "line 2" in result.stderr
    assert not queue.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--count", "0"],
        ["--workers", "1"],
        ["--lease", "0"],
        ["--layer", "carrier-pigeon"],
        ["--layer", "sqlite-queue", "--url", "sqlite-queue:///x.db"],
    ],
)
def test_a_wrong_option_is_refused(words: list[str]) -> None:
    assert invoke("demo", *words).exit_code == 2


def test_a_missing_server_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = invoke("demo", "--layer", "redis-streams")
    assert result.exit_code == 2
    assert "apt-get install redis-server" in result.stderr


def test_an_unreachable_broker_ends_it_with_status_1(tmp_path: Path) -> None:
    result = invoke("demo", "--url", f"sqlite-queue://{tmp_path}/nowhere/queue.db")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_the_tables_of_a_queue_are_printed_for_who_makes_them_by_hand() -> None:
    result = invoke("schema", "--schema", "mine")
    assert result.exit_code == 0
    assert 'CREATE TABLE "mine".message' in result.stdout
    assert "@" not in result.stdout
    assert "CREATE SCHEMA" not in invoke("schema", "--since", "1").stdout
    assert invoke("schema", "--since", "99").exit_code == 2
    assert invoke("schema", "--schema", "a;b").exit_code == 2


def test_the_installed_layers_are_listed() -> None:
    result = invoke("layers")
    assert "sqlite-queue://" in result.stdout
    assert "acked.layers.redis_streams:RedisStreamsLayer" in result.stdout


def finding(folder: Path) -> dict[str, str]:
    """Return an environment in which the modules of `folder` are found first, then what is tried."""
    path = os.pathsep.join((str(folder), *filter(None, [os.environ.get("PYTHONPATH")])))
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named_in_one_line(tmp_path: Path, missing: str) -> None:
    absent = f"raise ModuleNotFoundError('absent', name={missing!r})"
    (tmp_path / f"{missing}.py").write_text(absent)
    done = subprocess.run(
        [sys.executable, "-m", "acked", "demo"],
        check=False,
        capture_output=True,
        text=True,
        env=finding(tmp_path),
    )
    assert done.returncode == 2
    assert done.stderr == f"acked: its commands need {missing}: pip install 'acked[cli]'\n"


def test_another_missing_module_is_not_taken_for_the_extra(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("import something_of_their_own")
    done = subprocess.run(
        [sys.executable, "-m", "acked", "demo"],
        check=False,
        capture_output=True,
        text=True,
        env=finding(tmp_path),
    )
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'something_of_their_own'\n")
