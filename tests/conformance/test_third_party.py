"""A layer of somebody else, in a package of its own, is tried as ours are: `docs/examples/folder_layer`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "docs/examples/folder_layer"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install it, with its entry point, where only the children of this module look."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    here = ["--no-deps", "--no-build-isolation", "--no-index", "--target", target, PACKAGE]
    subprocess.run([*pip, *here], check=True)
    return os.environ | {"PYTHONPATH": str(target)}


def run(*words: object, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_its_own_tests_pass(installed: dict[str, str], tmp_path: Path) -> None:
    ran = run(
        *("pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "-k", "not trio"),
        *("--acked-results", "laws.json", PACKAGE / "tests"),
        env=installed,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
    laws = json.loads((tmp_path / "laws.json").read_text())["FolderLayer"]
    assert laws["C8"] == "held"  # its children found it by its URL
    assert laws["H2"] == "not tried"
    assert "broken" not in laws.values()


def test_it_is_found_by_its_url(installed: dict[str, str], tmp_path: Path) -> None:
    url = f"folder://{tmp_path}/queue"
    ran = run("acked.conformance", url, "-k", "acked_message or nack", env=installed, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-5000:]
    assert "FolderLayer" in ran.stdout
