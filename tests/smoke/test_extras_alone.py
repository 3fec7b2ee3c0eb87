"""Each extra is enough for what it is for: the wheel with that extra alone, tried.

pip unpacks the wheel in a folder, and beside it is what the extra names, what that names in its
turn, and nothing else: linked from this environment, as pip would have installed it. An import
that only the tools brought fails there.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.meta.source import ROOT
from tests.wheel import built_wheel

BROKERS = ("redis", "postgres", "kafka", "mqtt")
"""Extras that are tried on the broker of that name."""
ALONE = (*BROKERS, "nothing", "pydantic", "cli", "reload", "cron", "conformance")
SUMS = {"all", "dev"}
"""What is made of the others."""
PROGRAM = Path(__file__).with_name("alone.py")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("unpacked")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheel = built_wheel(tmp_path_factory.mktemp("wheel"))
    subprocess.run([*pip, "--no-index", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def test_every_extra_is_tried_or_a_sum_of_those_that_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.keys() == {*ALONE, *SUMS} - {"nothing"}
    names = extras["all"][0].removeprefix("acked[").removesuffix("]").split(",")
    assert {*names} == {*ALONE} - {"nothing", "conformance"}


@pytest.mark.parametrize("extra", ALONE)
def test_an_extra_alone_is_enough(
    extra: str, unpacked: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{extra}_broker").url if extra in BROKERS else ""
    place = tmp_path / "installed"
    place.mkdir()
    (acked,) = Distribution.discover(name="acked", path=[str(unpacked)])
    for one in needed(acked, extra):
        link(one, place)
    done = subprocess.run(
        [sys.executable, "-S", "-P", PROGRAM, extra, url],
        cwd=tmp_path,
        env=bare() | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60.0,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok"


def needed(acked: Distribution, extra: str) -> Iterator[Distribution]:
    """Yield `acked` and what it needs with `extra`, directly and not; some more than once."""
    known: set[tuple[str, str]] = set()
    waiting = [(acked, extra)]
    while waiting:
        one, extra = waiting.pop()
        if (one.name, extra) in known:
            continue
        known.add((one.name, extra))
        yield one
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                name = canonicalize_name(requirement.name)
                other = acked if name == "acked" else distribution(name)
                waiting += [(other, more) for more in (requirement.extras or {""})]


def link(one: Distribution, place: Path) -> None:
    """Put all that `one` has installed in `place`."""
    for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
        found, there = Path(str(one.locate_file(top))), place / top
        if found.exists() and not there.exists():
            there.symlink_to(found)


def bare() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
