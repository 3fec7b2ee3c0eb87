"""Compare what the tests tried with the floors: `python -m tests.covered`, after a measured run.

A part's figure is the lower of two: how many of a hundred of its lines, and of its branches, were
tried. The status is 1 if one is below its floor. Where a floor is below the goal, it is what was
reached so far: whoever raises the figure raises it.
"""

import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/acked/"
GOALS = {"_core": 99.0, "_machines": 99.0, "codecs": 99.0, "layers": 96.0}
GOAL = 90.0
"""Of every other part."""
FLOORS: Mapping[str, float] = {
    "_core": 98.7,
    "layers": 95.2,
}
"""Of the parts near their goal, where faults fall by chance: less than a point below what was tried."""
SINGLE = "modules"
"""The modules that stand in no folder."""
COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")
"""The names that coverage.py has for the fields of `Figures`."""


class Figures(NamedTuple):
    """Lines and branches: how many there are, and how many were tried."""

    lines: int
    lines_tried: int
    branches: int
    branches_tried: int

    @property
    def percent(self) -> float:
        """The lower of the two shares, cut after the first decimal."""
        pairs = (self.lines_tried, self.lines), (self.branches_tried, self.branches)
        return min(1000 * tried // there if there else 1000 for tried, there in pairs) / 10


def groups_of(file: str) -> Iterator[str]:
    """Yield the part a file belongs to, and in `layers` the mechanism, too.

    A mechanism is a folder of its own, or told by the first word of the file's name.
    """
    first, *inside = file.partition(SOURCE)[2].removesuffix(".py").split("/")
    yield first if inside else SINGLE
    if first == "layers" and inside != ["__init__"]:
        folder, *more = inside
        yield f"layers/{folder if more else folder.strip('_').partition('_')[0]}"


def measured() -> dict[str, Figures]:
    """Return the figures of each part and mechanism."""
    run = Coverage()
    run.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        # A child of a test may have run a copy, of an sdist for instance, that is gone by now.
        run.json_report(outfile=str(report), include=[f"{ROOT}/{SOURCE}*"])
        files = json.loads(report.read_text())["files"]
    groups = defaultdict[str, Counter[str]](Counter)
    for file, facts in files.items():
        for group in groups_of(file):
            groups[group].update({name: facts["summary"][name] for name in COUNTED})
    return {group: Figures(*(total[name] for name in COUNTED)) for group, total in groups.items()}


def main() -> int:
    """Print the figures beside floors and goals; return the exit status."""
    is_good = True
    print(f"{'':24} {'lines':>12} {'branches':>12} {'%':>6} {'floor':>6} {'goal':>6}")
    for group, figures in sorted(measured().items()):
        lines = f"{figures.lines_tried}/{figures.lines}"
        branches = f"{figures.branches_tried}/{figures.branches}"
        words = f"{group:24} {lines:>12} {branches:>12} {figures.percent:6}"
        if "/" not in group:
            goal = GOALS.get(group, GOAL)
            floor = FLOORS.get(group, goal)
            is_reached = figures.percent >= floor
            is_good &= is_reached
            words += f" {floor:6} {goal:6}{'' if is_reached else '  BELOW ITS FLOOR'}"
        print(words)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
