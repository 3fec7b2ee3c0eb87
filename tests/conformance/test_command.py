"""The laws on a layer that is known by its URL: by command, and as an option of pytest."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from acked import ConfigurationError
from acked.conformance import VirtualHarness
from acked.conformance.law import Law, require_the_same_layer
from acked.conformance.verdicts import Results, Verdict, note, read, verdict_of, write
from acked.layers.memory_queue import MemoryQueueLayer


def run(
    *words: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_command_prints_the_matrix_and_writes_it(tmp_path: Path) -> None:
    ran = run("acked.conformance", "memory://", "--results", "laws.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "MemoryLayer" in ran.stdout
    laws = json.loads((tmp_path / "laws.json").read_text())["MemoryLayer"]
    assert laws["B9"] == "held"
    assert laws["A2"] == "not claimed"
    assert laws["H8"] == "not tried"


def test_pytest_takes_the_layer_as_an_option(tmp_path: Path) -> None:
    """And other options of pytest with it, here to choose one law."""
    ran = run("pytest", "--acked-layer", "memory-queue://", "-k", "byte_for_byte", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
    assert "MemoryQueueLayer" in ran.stdout


@pytest.mark.parametrize("url", ["pigeon-post://", "memory://?no=1"])
def test_a_layer_that_cannot_be_made_is_an_error_with_words(tmp_path: Path, url: str) -> None:
    ran = run("acked.conformance", url, cwd=tmp_path)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--acked-layer: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_it_says_how_many_programs_were_tried_and_what_was_not(tmp_path: Path) -> None:
    words = ("-k", "any_program or leaving_ends_by_its_deadline")
    ran = run("acked.conformance", "memory-queue://", *words, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "programs were tried, 10 were wanted" in ran.stdout
    assert "not tried: the harness has no black_hole: test_leaving_ends_by_its" in ran.stdout
    ran = run("acked.conformance", "memory-queue://", "--require-all", *words, cwd=tmp_path)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED
    assert "not tried: the harness has no black_hole" in ran.stdout


def test_children_that_would_open_another_layer_are_refused() -> None:
    class Mistaken(VirtualHarness):
        url = "sqlite-queue:///nowhere.db"

    harness = Mistaken(lambda clock: MemoryQueueLayer(clock=clock))
    require_the_same_layer(harness, "memory-queue://")
    with pytest.raises(ConfigurationError, match="opens a SQLiteQueueLayer"):
        require_the_same_layer(harness, harness.url)


def test_without_the_options_nothing_of_acked_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not [m for m in sys.modules if m.split('.')[0] == 'acked']\n"
    )
    ran = run("pytest", "-q", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_of_several_tests_of_a_law_the_worst_verdict_counts(tmp_path: Path) -> None:
    positive, negative = Law(("C3",), ("nack",), (), ()), Law(("C3",), (), ("nack",), ())
    assert verdict_of(positive, passed=True, skipped=None) is Verdict.HELD
    assert verdict_of(negative, passed=True, skipped=None) is Verdict.REFUSED
    assert verdict_of(negative, passed=False, skipped=None) is Verdict.BROKEN
    assert verdict_of(positive, passed=False, skipped="not claimed: nack") is Verdict.NOT_CLAIMED
    assert verdict_of(negative, passed=False, skipped="does not apply") is None
    results: Results = {}
    for verdict in (Verdict.NOT_CLAIMED, Verdict.HELD, Verdict.BROKEN, Verdict.HELD):
        note(results, "Layer", ["C3", "C10"], verdict)
    write(results, tmp_path / "r.json")
    assert read(tmp_path / "r.json") == {
        "Layer": {"C3": Verdict.BROKEN, "C10": Verdict.BROKEN},
    }
    assert list(json.loads((tmp_path / "r.json").read_text())["Layer"]) == ["C3", "C10"]


def test_a_url_comes_from_the_environment_and_is_on_no_command_line(tmp_path: Path) -> None:
    """Other users of the machine can read a command line."""
    seen = tmp_path / "seen.txt"
    (tmp_path / "spy.py").write_text(
        "import sys\n"
        f"open({str(seen)!r}, 'w').write(open('/proc/self/cmdline').read().replace(chr(0), ' '))\n"
    )
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    named = {**os.environ, "ACKED_URL": "memory-queue://", "PYTHONPATH": path}
    words = ("-p", "spy", "-k", "test_an_acked_message")
    ran = run("acked.conformance", "-", *words, env=named, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "MemoryQueueLayer" in ran.stdout
    assert "--acked-layer -" in seen.read_text()
    assert "memory-queue" not in seen.read_text()
    refused = run("acked.conformance", "-", cwd=tmp_path)
    assert "ACKED_URL in the environment, which is not there" in refused.stderr
