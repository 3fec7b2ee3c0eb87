"""The mutation run: what it changes, that every module is in a room, and no judgement is stale."""

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.meta.source import PACKAGE, ROOT
from tests.mutation.__main__ import main, sample
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.rooms import PARTS, all_rooms

MODULE = Path("src/acked/layers/kafka/_feed.py")


@pytest.fixture(scope="module")
def mutants() -> list[Mutant]:
    return [one for room in all_rooms().values() for one in room.mutants()]


def changed(body: str) -> list[str]:
    """Return what became of the lines of a function that has nothing but `body`."""
    source = f"def f(a, b):\n    {body}\n"
    return [one.source.splitlines()[1].strip() for one in mutants_of(MODULE, source)]


@pytest.mark.parametrize(
    ("body", "became"),
    [
        ("return a < b", ["return (a <= b)", "return (a >= b)"]),
        ("return a is b", ["return (a is not b)"]),
        ("return a and b", ["return (a or b)"]),
        ("return not a", ["return (a)"]),
        ("return a[0]", ["return a[1]"]),
        ("return True", []),
        ("a.flush()", ["pass"]),
        ("if a: return", ["if a: pass"]),
        ("if a: raise b", ["if a: pass"]),
        ("logger.info('told')", []),
        ("return f'{a < b} é' + (a or b)", ["return f'{a < b} é' + ((a and b))"]),
    ],
)
def test_a_change_is_small_and_in_its_place(body: str, became: list[str]) -> None:
    assert changed(body) == became


def test_what_a_module_holds_outside_its_functions_stays() -> None:
    assert list(mutants_of(MODULE, "A = 1 if 2 < 3 else 4\n")) == []


def test_each_module_of_the_parts_and_the_layers_is_in_one_room(mutants: list[Mutant]) -> None:
    found = [ROOT / module for room in all_rooms().values() for module in room.modules]
    parts = [PACKAGE / part for part in (*PARTS, "layers")]
    there = [file for part in parts for file in part.rglob("*.py")]
    assert Counter(found) == Counter(set(there) - {PACKAGE / "layers/__init__.py"})
    assert all(room.tests for room in all_rooms().values())


def test_every_mutant_compiles_and_is_itself_alone(mutants: list[Mutant]) -> None:
    for one in sample(mutants, 100, seed=1):
        ast.parse(one.source)
    assert len({one.key for one in mutants}) == len(mutants)


def test_what_was_judged_equivalent_is_still_there(mutants: list[Mutant]) -> None:
    assert EQUIVALENT.keys() - {one.name for one in mutants} == set()


def test_a_sample_can_be_had_again_and_begins_a_larger_one(mutants: list[Mutant]) -> None:
    some, more = sample(mutants, 8, seed=1), sample(mutants, 16, seed=1)
    assert some == sample(reversed(mutants), 8, seed=1) == more[:8]
    assert some != sample(mutants, 8, seed=2)


def test_what_is_known_is_listed_by_room(
    mutants: list[Mutant],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed, alive = [one for one in sample(mutants, None, 0) if "kafka/" in one.name][:2]
    notes = [{"key": killed.key, "name": killed.name, "by": "a test"}]
    notes += [{"key": alive.key, "name": alive.name, "by": ""}]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(note) + "\n" for note in notes))
    monkeypatch.setattr("sys.argv", ["", "--list", "--room", "kafka", "--results", str(results)])
    assert main() == 1
    survivor, _, row, _ = capsys.readouterr().out.splitlines()
    assert survivor == f"survived: {alive.module}:{alive.line} {alive.name}"
    name, *_, tried, dead, living, share, _ = row.split()
    assert (name, tried, dead, living, share) == ("kafka", "2", "1", "1", "50")
