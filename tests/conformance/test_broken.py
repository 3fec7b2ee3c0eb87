"""The suite is tested: each broken layer is killed by the law meant for it, a healthy one by none."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from acked.conformance.law import law_of
from tests.broken_layers import CATALOGUE, Broken
from tests.broken_layers.__main__ import main
from tests.broken_layers.catalogue import HEALTHY
from tests.broken_layers.matrix import chosen, matrix
from tests.broken_layers.plugin import Tried

every = pytest.mark.parametrize("one", CATALOGUE.values(), ids=CATALOGUE)


@pytest.mark.matrix
@pytest.mark.timeout(1200)
def test_each_broken_layer_is_killed_by_the_law_meant_for_it() -> None:
    ran = CliRunner().invoke(main, ["--json"])
    assert ran.stderr == ""
    printed = json.loads(ran.stdout)
    assert printed["broken"] == printed["killed"] == len(CATALOGUE) >= 24
    for name, tests in printed["by"].items():
        assert tests[0] == CATALOGUE[name].law
    assert ran.exit_code == 0


@pytest.mark.matrix
def test_whoever_unpacks_the_sdist_can_test_the_suite(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, cwd=Path(__file__).parents[2], check=True, capture_output=True)
    (archive,) = tmp_path.glob("acked-*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    name, one = next(iter(CATALOGUE.items()))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.broken_layers", "--json", "--only", name],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked / "src")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    printed = json.loads(ran.stdout)
    assert printed["killed"] == 1
    assert one.law in printed["by"][name]


@every
def test_a_broken_layer_names_a_law_that_exists_and_tells_its_story(one: Broken) -> None:
    assert law_of(getattr(one.suite, one.law)) is not None
    assert one.ids
    assert len(one.story) > 20
    assert one.story.endswith((".", ":"))


@every
def test_the_law_meant_is_tried_first(one: Broken) -> None:
    assert chosen(one)[0] == one.law
    assert len(set(chosen(one))) == len(chosen(one))


def test_only_the_law_that_is_meant_kills() -> None:
    first, second, third = list(CATALOGUE.values())[:3]
    found = matrix(
        [
            Tried(first.name, first.law, "failed", 0.1),
            Tried(first.name, "test_a", "failed", 0.1),
            Tried(second.name, "test_another", "failed", 0.1),
            Tried(second.name, second.law, "skipped", 0.1),
            Tried(third.name, third.law, "passed", 0.1),
            Tried(HEALTHY[0], third.law, "failed", 0.1),
        ]
    )
    assert (found.broken, found.killed) == (3, 1)
    assert found.by == {
        first.name: [first.law, "test_a"],
        second.name: ["test_another"],
        third.name: [],
    }
