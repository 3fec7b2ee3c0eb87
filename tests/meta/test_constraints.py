"""The two constraint files: the newest versions that are tried, and the lowest that are promised."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.meta.source import ROOT

TOOLS = "dev"
"""The extra that users do not install: its lower bounds promise nothing."""
ALSO_LOWEST = {"trio"}
"""Of the tools, what the library runs on all the same."""


def requirements() -> list[tuple[str, Requirement]]:
    """Return what is required, with the extra that requires it; the package itself left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    every = [(extra, Requirement(line)) for extra, lines in lists.items() for line in lines]
    return [(extra, one) for extra, one in every if one.name != project["name"]]


def pins(name: str) -> dict[str, str]:
    """Return the versions that a constraint file pins; it has nothing but pins and comments."""
    lines = (line.partition("#")[0].strip() for line in Path(ROOT / name).read_text().splitlines())
    found = [line.split("==") for line in lines if line]
    return {canonicalize_name(package): version for package, version in found}


def test_the_lowest_constraints_are_the_lower_bounds() -> None:
    bounds = {
        canonicalize_name(one.name): bound[1]
        for extra, one in requirements()
        if (extra != TOOLS or one.name in ALSO_LOWEST)
        and (bound := re.search(r">=([^,]+)", str(one.specifier)))
    }
    assert pins("constraints-lowest.txt") == bounds


def test_what_users_install_has_a_lower_bound() -> None:
    unbounded = [one.name for extra, one in requirements() if ">=" not in str(one.specifier)]
    assert unbounded == []


def test_the_newest_constraints_are_within_the_bounds() -> None:
    newest = pins("constraints.txt")
    outside = [
        f"{one.name} {newest.get(canonicalize_name(one.name))} is not {one.specifier}"
        for _, one in requirements()
        if newest.get(canonicalize_name(one.name)) not in one.specifier
    ]
    assert outside == []


def test_both_files_are_tried() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in ("constraints.txt", "constraints-lowest.txt"):
        assert f"--constraint {name}" in makefile
