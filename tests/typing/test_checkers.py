"""mypy and pyright, both strict, see the difference between news and debts."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACCEPTED, REJECTED = HERE / "accepted.py", HERE / "rejected.py"

Findings = dict[str, dict[int, str]]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, str(ACCEPTED), str(REJECTED)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def mypy() -> Findings:
    found: Findings = {}
    # A cache of its own: `make check` runs mypy on the package at the same time.
    printed = run("mypy", "--cache-dir", ".mypy_cache/typing")
    for name, line, words in re.findall(r"^(\S+):(\d+): error: (.*)$", printed, re.MULTILINE):
        found.setdefault(Path(name).name, {})[int(line)] = words
    return found


def pyright() -> Findings:
    found: Findings = {}
    for one in json.loads(run("pyright", "--outputjson"))["generalDiagnostics"]:
        line = one["range"]["start"]["line"] + 1
        found.setdefault(Path(one["file"]).name, {})[line] = one["message"]
    return found


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def findings(request: pytest.FixtureRequest) -> Findings:
    checker: Callable[[], Findings] = request.param
    return checker()


def test_right_use_is_accepted_and_has_the_promised_types(findings: Findings) -> None:
    found = [f"{line}: {words}" for line, words in findings.get(ACCEPTED.name, {}).items()]
    assert not found, "\n".join(found)


def test_exactly_the_marked_lines_are_rejected(findings: Findings) -> None:
    lines = REJECTED.read_text().splitlines()
    marked = {number for number, text in enumerate(lines, 1) if "# expect-error" in text}
    rejected = findings[REJECTED.name]
    beyond = [f"{n}: {words}" for n, words in rejected.items() if n not in marked]
    passed = [f"{n}: {lines[n - 1].strip()}" for n in sorted(marked - rejected.keys())]
    assert not beyond, "\n".join(beyond)
    assert not passed, "\n".join(passed)
