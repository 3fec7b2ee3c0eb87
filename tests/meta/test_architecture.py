"""The pictures of the architecture show the code there is, and their makers notice what is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.architecture.page import PAGE, page, pictures
from tests.meta.architecture.rooms import MODULES, arrows, floors, on_floor, reach, room_of, rooms
from tests.meta.architecture.ways import Step, Way, WrongStep, check, ways
from tests.meta.source import ROOT, tree

HOW = "it shows what was: run `python -m tests.meta.architecture`"


def test_the_pictures_show_the_code_as_it_is() -> None:
    stale = [file.name for file, shapes in pictures().items() if file.read_text() != shapes]
    assert stale == [], HOW


def test_the_tables_beside_them_do_too() -> None:
    assert PAGE.read_text() == page(PAGE.read_text()), HOW


def test_every_module_is_in_a_room_on_a_floor() -> None:
    drawn = [room for floor in floors() for member in floor for room in on_floor(member)]
    assert sorted(drawn) == sorted(rooms())
    homeless = {module for module in MODULES if room_of(module) not in drawn}
    assert {MODULES[module].name for module in homeless} <= {"__init__.py"}
    assert [module for module in homeless if len(tree(MODULES[module]).body) > 1] == []


def test_what_an_arrow_leaves_out_follows_from_the_others() -> None:
    drawn: dict[str, set[str]] = {room: set() for room in rooms()}
    for room, target in arrows():
        drawn[room].add(target)
    for room in rooms():
        seen: set[str] = set()
        waiting = [room]
        while waiting:
            fresh = drawn[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        assert seen == reach(room), room


def test_a_new_import_makes_the_picture_stale(tmp_path: Path) -> None:
    for name in ("src", "tests/meta", "docs/explanation"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "src/acked/layers/memory.py"
    planted.write_text(planted.read_text() + "\nimport acked.layers.memory_queue\n")
    compare = (
        "from tests.meta.test_architecture import *; test_the_pictures_show_the_code_as_it_is()"
    )
    done = subprocess.run(
        [sys.executable, "-c", compare], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "AssertionError: it shows what was" in done.stderr


@pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
def test_each_step_of_a_way_is_taken_by_the_one_before_it(way: Way) -> None:
    for before, step in way.links():
        check(before, step)


@pytest.mark.parametrize(
    ("before", "step", "words"),
    [
        (None, Step(at="Nobody.run", does=""), "nowhere"),
        (None, Step(at="Channel.fly", does=""), "has no fly"),
        (Step(at="Channel.publish", does=""), Step(at="Channel.aclose", does=""), "not call it"),
        (
            Step(at="Channel.publish", does=""),
            Step(at="Channel.aclose", does="", via="_layer"),
            "do not share",
        ),
        (
            Step(at="Channel.publish", does=""),
            Step(at="MemoryLayer.publish", does="", seam="Channel.publish"),
            "no protocol",
        ),
    ],
)
def test_a_step_that_the_code_does_not_take_is_noticed(
    before: Step | None, step: Step, words: str
) -> None:
    with pytest.raises(WrongStep, match=words):
        check(before, step)
