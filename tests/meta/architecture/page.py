"""The page of the explanation that shows the pictures: what stands between its marks is made."""

import re
from pathlib import Path

from tests.meta.architecture import floor_plan, rooms, ways
from tests.meta.source import ROOT

PAGE = ROOT / "docs/explanation/architecture.md"


def pictures() -> dict[Path, str]:
    """Return each picture's file and what is to be in it."""
    drawn = {"rooms": floor_plan.draw()} | {way.name: ways.draw(way) for way in ways.ways()}
    return {PAGE.with_name(f"architecture_{name}.svg"): shapes for name, shapes in drawn.items()}


def tables() -> dict[str, str]:
    """Return the tables of the page, by the name in their marks."""
    return {"rooms": rooms.table()} | {way.name: ways.table(way) for way in ways.ways()}


def page(written: str) -> str:
    """Return the page with its tables made anew."""
    for name, table in tables().items():
        start, end = f"<!-- made: {name} -->", "<!-- end -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(written)) != 1:
            raise ValueError(f"{PAGE} must have {start} and {end} once")
        written = pattern.sub(lambda _, new=f"{start}\n\n{table}\n\n{end}": new, written)
    return written
