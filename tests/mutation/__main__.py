"""`python -m tests.mutation [--room X]`: change the code in small ways; see the tests notice.

Each mutant is a copy of the tree with one small change (`mutants.py`) in a module of one room. It is
killed if one of the tests that the room has for that (`rooms.py`) fails. `--sample 16 --seed 1`
tries sixteen of each room, always the same ones as long as the modules are the same, and the first
sixteen of a sample of twenty. Results are kept, so that a run that was broken off goes on where it
was; `--again` tries those once more that survived; `--list` only says what is known, by room.

Tests that fail without a mutation are named and left out. Exit status 1 if more than one in twenty
of those that are not equivalent survives.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant
from tests.mutation.rooms import ROOT, Room, all_rooms
from tests.mutation.trial import Trial, shared_broker

COPIED: Final = ("src", "tests", "compose", "pyproject.toml")
ROW: Final = "{:<16}{:>8}{:>11}{:>7}{:>8}{:>9}{:>7}"

Known = dict[str, dict[str, str]]
"""What was found, by the key of the mutant."""


def main() -> int:
    """Run, print, and return the exit status."""
    rooms = all_rooms()
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--room", action="append", choices=rooms, help="default: all")
    parser.add_argument("--module", help="only modules with this in their path")
    parser.add_argument("--sample", type=int, help="how many of each room; default: all")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--results", type=Path, default=Path("/tmp/acked-mutation.jsonl"))
    parser.add_argument("--jobs", type=int, default=2, help="how many side by side")
    parser.add_argument("--list", action="store_true", help="only say what is known")
    parser.add_argument("--again", action="store_true", help="also try those that survived")
    given = parser.parse_args()
    results: Path = given.results
    lines = results.read_text().splitlines() if results.exists() else []
    known: Known = {one["key"]: one for one in map(json.loads, lines)}
    chosen = {name: rooms[name].mutants() for name in given.room or rooms}
    for name, mutants in chosen.items():
        if given.list:
            continue
        within = [one for one in mutants if (given.module or "") in str(one.module)]
        asked = sample(within, given.sample, given.seed)
        again = [one for one in asked if given.again and not known.get(one.key, {}).get("by", "-")]
        todo = again + [one for one in asked if one.key not in known]
        if todo:
            known |= run(rooms[name], todo, results, given.jobs)
    return report(chosen, known)


def sample(mutants: Iterable[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """Return `size` of those that a test can kill: which, only `seed` and the modules decide."""
    able = [one for one in mutants if one.name not in EQUIVALENT]
    if size is None:
        return able
    return sorted(able, key=lambda one: hashlib.sha256(f"{seed}{one.key}".encode()).digest())[:size]


def run(room: Room, mutants: list[Mutant], results: Path, jobs: int) -> Known:
    """Test `mutants`, `jobs` at a time, each in a copy of the tree; note each in `results`."""
    found: Known = {}
    trees: SimpleQueue[Path] = SimpleQueue()
    with (
        tempfile.TemporaryDirectory(prefix="acked-mutation-", ignore_cleanup_errors=True) as folder,
        shared_broker(room) as servers,
    ):
        for number in range(jobs):
            trees.put(copied(Path(folder, str(number))))
        trial = Trial.of(room, Path(folder, "0"), servers)

        def attempt(mutant: Mutant) -> None:
            tree = trees.get()
            place = tree / mutant.module
            original = place.read_text()
            try:
                place.write_text(mutant.source)
                killer = trial.killer(tree)
            finally:
                place.write_text(original)
                trees.put(tree)
            note = {"key": mutant.key, "name": mutant.name, "by": killer}
            found[mutant.key] = note
            with results.open("a") as file:
                file.write(json.dumps(note) + "\n")
            print(f"{'killed  ' if killer else 'SURVIVED'} {mutant.name}  {killer}", flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(attempt, mutants))
    return found


def copied(tree: Path) -> Path:
    """Copy what the tests need to `tree`."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    tree.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name, **({"ignore": ignore} if (ROOT / name).is_dir() else {}))
    return tree


def report(chosen: Mapping[str, list[Mutant]], known: Known) -> int:
    """Print who survived, and a line for each room; return the exit status."""
    rows: list[tuple[str, ...]] = []
    total = [0] * 4
    for name, mutants in chosen.items():
        equivalent = sum(one.name in EQUIVALENT for one in mutants)
        tried = [one for one in mutants if one.key in known and one.name not in EQUIVALENT]
        alive = [one for one in tried if not known[one.key]["by"]]
        for one in alive:
            print(f"survived: {one.module}:{one.line} {one.name}")
        counts = [len(mutants), equivalent, len(tried), len(tried) - len(alive)]
        total = [before + count for before, count in zip(total, counts, strict=True)]
        rows.append(row(name, counts))
    print(ROW.format("room", "mutants", "equivalent", "tried", "killed", "survived", "share"))
    for cells in (*rows, row("all", total)):
        print(ROW.format(*cells))
    return 0 if total[3] >= 0.95 * total[2] else 1


def row(name: str, counts: list[int]) -> tuple[str, ...]:
    """Return the cells of a line of the table."""
    *_, tried, killed = counts
    share = f"{100 * killed / tried:.0f} %" if tried else "-"
    return name, *map(str, counts), str(tried - killed), share


if __name__ == "__main__":
    sys.exit(main())
