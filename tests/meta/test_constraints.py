"""The two constraint files: the newest versions that are tried, and the lowest that are promised."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.meta.source import FILES, ROOT, name_of, tree

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


def test_what_the_package_imports_is_required() -> None:
    """What comes along with something else is gone with its next version."""
    required = [one for extra, one in requirements() if extra != TOOLS]
    known = {canonicalize_name(name) for one in required for name in (one.name, *one.extras)}
    holders = packages_distributions()
    foreign = {
        f"{name_of(file)} imports {top}"
        for file in FILES
        for top in imported(file) - sys.stdlib_module_names - {"acked"}
        if not {canonicalize_name(one) for one in holders.get(top, ())} & (known | ALSO_LOWEST)
    }
    assert foreign == set()


def imported(file: Path) -> set[str]:
    """Return the packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}
