"""`python -m tests.mutation [--module X]`: change the engine in small ways; see the tests notice.

Each mutant is a copy of the tree with one comparison turned round or one call left out, in the
memory queue and in the parts of the engine that settle. It is killed if the laws on the memory
queue, or the tests of the engine, fail. Results are kept, so that a run that
was broken off goes on where it was. Exit status 1 if more than one in twenty of those that are
not equivalent survives.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants_of

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = Path("src/acked")
MODULES: Final = (
    "layers/memory_queue",
    "layers/_memory_group",
    *(f"_core/{name}" for name in ("settler", "ledger", "desk", "keeper", "pump", "debts")),
    *(f"_core/{name}" for name in ("delivery", "subscription", "dead_letters")),
)
COPIED: Final = ("src", "tests", "compose", "pyproject.toml")
TESTS: Final = (
    "tests/conformance/test_memory_queue.py",
    *(f"tests/layers/test_memory_queue{name}.py" for name in ("", "_leases", "_waiting", "_model")),
    "tests/core",
)
OPTIONS: Final = ("-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider")
CHOSEN: Final = ("-k", "not trio and not program", "--timeout=25")
PATIENCE: Final = 240.0
"""Seconds for one mutant: several times what the tests take on a busy machine."""


def tested(tree: Path) -> tuple[bool, str]:
    """Return whether the tests hold in `tree`, and which one did not."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-B", "-m", "pytest", *TESTS, *OPTIONS, *CHOSEN]
    try:
        run = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, "timeout"
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return run.returncode == 0, failed[0][:160] if failed else f"status {run.returncode}"


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", choices=MODULES, help="default: all")
    parser.add_argument("--results", type=Path, default=Path("/tmp/acked-mutation.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="only say what is known")
    given = parser.parse_args()
    mutants: list[Mutant] = []
    for name in given.module or MODULES:
        module = PACKAGE / f"{name}.py"
        mutants += mutants_of(module, (ROOT / module).read_text())
    results: Path = given.results
    lines = results.read_text().splitlines() if results.exists() else []
    known = {one["key"]: one for one in map(json.loads, lines)}
    if not given.list:
        todo = [one for one in mutants if one.key not in known and one.name not in EQUIVALENT]
        known |= run(todo, results, given.jobs)
    return report(mutants, known)


def run(mutants: list[Mutant], results: Path, jobs: int) -> dict[str, dict[str, str]]:
    """Test `mutants`, `jobs` at a time, each in a copy of the tree; note each in `results`."""
    found: dict[str, dict[str, str]] = {}
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="acked-mutation-") as folder:
        for number in range(jobs):
            trees.put(copied(Path(folder, str(number))))

        def attempt(mutant: Mutant) -> None:
            tree = trees.get()
            place = tree / mutant.module
            original = place.read_text()
            try:
                place.write_text(mutant.source)
                holds, why = tested(tree)
            finally:
                place.write_text(original)
                trees.put(tree)
            note = {"key": mutant.key, "name": mutant.name, "by": "" if holds else why}
            found[mutant.key] = note
            with results.open("a") as file:
                file.write(json.dumps(note) + "\n")
            print(f"{'SURVIVED' if holds else 'killed  '} {mutant.name}  {why}", flush=True)

        holds, why = tested(Path(folder, "0"))
        if not holds:
            raise SystemExit(f"the tests fail without a mutation: {why}")
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


def report(mutants: list[Mutant], known: dict[str, dict[str, str]]) -> int:
    """Print who survived and one line of JSON; return the exit status."""
    alive = [one for one in mutants if one.key in known and not known[one.key]["by"]]
    survivors = [one for one in alive if one.name not in EQUIVALENT]
    killed = sum(1 for one in mutants if one.key in known and known[one.key]["by"])
    for one in survivors:
        print(f"survived: {one.module}:{one.line} {one.name}")
    tried = killed + len(survivors)
    share = round(killed / tried, 4) if tried else 0.0
    equivalent = sum(1 for one in mutants if one.name in EQUIVALENT)
    counts = {"mutants": len(mutants), "equivalent": equivalent, "tried": tried, "killed": killed}
    print(json.dumps({**counts, "share": share}))
    return 0 if share >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
