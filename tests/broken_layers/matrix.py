"""The kill matrix: which laws find which bug. Run in processes of their own, side by side."""

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from acked.conformance.law import law_of
from acked.conformance.laws.modelled import ModelledLaws
from tests.broken_layers.catalogue import CATALOGUE, HEALTHY, Broken
from tests.broken_layers.plugin import JOB, Job, Tried

__all__ = ("Matrix", "chosen", "matrix", "tried")

PROCESSES: Final = 4
"""More than cores: a law that a bug keeps waiting needs none."""
ROOT: Final = Path(__file__).parents[2]
"""The checkout: `tests` is found there."""
SUITE: Final = Path(__file__).with_name("suite.py")
PATIENCE: Final = 900.0
"""Seconds for one process."""

SLOW: Final = frozenset(name for name in vars(ModelledLaws) if name.startswith("test_"))
"""Laws that take seconds: tried by default where they are meant."""

Tests: TypeAlias = Mapping[str, Sequence[str]]
"""The tests to try, by layer; none named: all."""


class Matrix(msgspec.Struct):
    """How many layers are broken, how many of them were killed by the law meant for it, by whom."""

    broken: int
    killed: int
    by: dict[str, list[str]]
    """The tests that failed on each; the one that is meant first."""


def chosen(one: Broken) -> list[str]:
    """Return the laws that are tried on `one` by default: the one meant, and others of its ids."""
    laws = {name: law_of(getattr(one.suite, name, None)) for name in dir(one.suite)}
    ids = set(one.ids)
    near = [name for name, law in laws.items() if law is not None and ids & set(law.ids)]
    return [one.law, *(name for name in near if name != one.law and name not in SLOW)]


def tried(tests: Tests, *, seed: int = 0) -> list[Tried]:
    """Try `tests`, in several processes, and return what became of each."""
    shares: list[dict[str, list[str]]] = [{} for _ in range(PROCESSES)]
    for number, (name, wanted) in enumerate(tests.items()):
        shares[number % PROCESSES][name] = list(wanted)
    with tempfile.TemporaryDirectory(prefix="acked-broken-") as folder:
        jobs = [
            Job(share, str(Path(folder, f"{number}.jsonl")))
            for number, share in enumerate(shares)
            if share
        ]
        with ThreadPoolExecutor(PROCESSES) as pool:
            found = list(pool.map(_run, jobs, [seed] * len(jobs)))
    return [one for several in found for one in several]


def matrix(results: Iterable[Tried]) -> Matrix:
    """Return what `results` say of the broken layers in them."""
    failed: defaultdict[str, list[str]] = defaultdict(list)
    for one in results:
        if one.layer not in HEALTHY:
            failed[one.layer] += [one.test] if one.outcome == "failed" else []
    by = {
        name: sorted(failed[name], key=lambda test: (test != CATALOGUE[name].law, test))
        for name in CATALOGUE
        if name in failed
    }
    killed = sum(1 for name, tests in by.items() if CATALOGUE[name].law in tests)
    return Matrix(len(by), killed, by)


def _run(job: Job, seed: int) -> list[Tried]:
    answers = Path(job.answers)
    place = answers.with_suffix(".json")
    place.write_bytes(msgspec.json.encode(job))
    answers.touch()
    # As `python -m acked.conformance` does: none of the settings of our own tests.
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(ROOT), "-q"]
    command += ["--import-mode=importlib", "--noconftest", "--tb=short", "-W", "ignore"]
    command += ["-p", "no:cacheprovider", "-p", "tests.broken_layers.plugin", str(SUITE)]
    if seed:
        command.append(f"--hypothesis-seed={seed}")
    environment = {**os.environ, JOB: str(place), "PYTHONHASHSEED": str(seed)}
    try:
        run = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the laws hang on one of {', '.join(job.tests)}") from error
    if run.returncode not in {0, 1}:
        raise RuntimeError(f"pytest ended with {run.returncode}: {run.stdout[-2000:]}{run.stderr}")
    lines = answers.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Tried) for line in lines]
