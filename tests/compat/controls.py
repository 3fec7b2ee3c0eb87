"""The originals, installed beside us, to see them fail where `acked` holds.

Each control is a virtual environment in `.venv-controls/` at the top of the checkout, made once
with pip and used again. A scenario is a script that imports the original's name, plays one
situation and prints one line of JSON; it runs by the control's interpreter and by ours, where
`acked`'s shim has that name.

    python -m tests.compat.controls                      make all of them
    python -m tests.compat.controls broadcaster-redis7   or one

A control that cannot be had is a skip with the reason, or an error under CI or ACKED_REQUIRE.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compose.environments import PATIENCE, THEN, Environment, EnvironmentUnavailableError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-controls"
SCENARIOS = Path(__file__).parent / "scenarios"
SOURCE = ROOT / "src"
"""What ours is played with: our interpreter may have `acked` installed from another checkout."""
SHIMS = SOURCE / "acked/compat/shims"

CONTROLS: Mapping[str, Sequence[str]] = {
    "broadcaster-redis7": ("broadcaster[redis,postgres,kafka]==0.3.1", "redis<8"),
    "broadcaster-newest": ("broadcaster[redis]==0.3.1", "redis>=8"),
    "starlette-web": (
        "starlette_web[postgres,redis]==0.1.10",
        "gmqtt",
    ),
    "starlette-web-with-acked": (
        "starlette_web[postgres,redis]==0.1.10",
        THEN,
        "--editable",
        f"{ROOT}[mqtt,postgres,redis]",
    ),
}
"""What pip installs for each."""

TRIES = 3
MAY_INSTALL = pytest.mark.timeout(PATIENCE + 120.0)
"""For tests that ask for a control: the first to do so installs it, which is none of their time."""


def interpreter(name: str) -> Path:
    """Return the Python of control `name`, made when it is not there or not as it should be."""
    return Environment(FOLDER / name, tuple(CONTROLS[name])).python()


def or_skip(name: str) -> Path:
    """Return the Python of control `name`, or skip; an error where nothing may be skipped."""
    try:
        return interpreter(name)
    except EnvironmentUnavailableError as error:
        reason = f"the control {name} cannot be had: {error}"
    if os.environ.get("CI") == "true" or os.environ.get("ACKED_REQUIRE"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Playing:
    """A scenario that is being played by one interpreter."""

    def __init__(
        self,
        python: Path | str,
        scenario: str,
        *arguments: str,
        patience: float = 10.0,
        path: Sequence[Path] = (),
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
        environment["STAGE_PATIENCE"] = str(patience)
        self._process = subprocess.Popen(
            [str(python), str(SCENARIOS / f"{scenario}.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=SCENARIOS,
            env=environment,
        )

    def result(self, timeout: float = 40.0) -> dict[str, Any]:
        """Return what it printed; `{"outcome": "hangs"}` if it does not end in `timeout` seconds."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"outcome": "hangs"}
        lines = out.splitlines()
        assert lines, f"the scenario said nothing; exit status {self._process.returncode}:\n{err}"
        found: dict[str, Any] = json.loads(lines[-1])
        return found


def ours(scenario: str, *arguments: str) -> Playing:
    """Let `scenario` be played by our interpreter, with the shims first on its path."""
    return Playing(sys.executable, scenario, *arguments, path=(SHIMS, SOURCE))


def renamed(package: str, folder: Path, scenario: str, *arguments: str) -> Playing:
    """Let `scenario` be played from `folder`, with `package` replaced by ours and nothing else."""
    shutil.copytree(SCENARIOS, folder, dirs_exist_ok=True)
    file = folder / f"{scenario}.py"
    for one in folder.glob("*.py"):
        text = re.sub(
            rf"^from {package}\b",
            f"from acked.compat.{package}",
            one.read_text(),
            flags=re.MULTILINE,
        )
        one.write_text(text.replace(f'ROOT = "{package}"', f'ROOT = "acked.compat.{package}"'))
    assert f"from acked.compat.{package}" in file.read_text()
    return Playing(sys.executable, str(file.with_suffix("")), *arguments, path=(SOURCE,))


def original(name: str, scenario: str, *arguments: str) -> Playing:
    """Let `scenario` be played by control `name`."""
    # What hangs there is waited for: as short as a loaded machine allows.
    return Playing(or_skip(name), scenario, *arguments, patience=2.0)


class Case(NamedTuple):
    """One situation; `fails` and `holds` are what the two print, or a part of it."""

    rows: tuple[int, ...]
    scenario: str
    broker: str | None
    fails: dict[str, Any]
    holds: dict[str, Any]
    control: str = "broadcaster-redis7"

    def __str__(self) -> str:
        return f"{self.scenario}-{self.broker}"

    def play(self, request: pytest.FixtureRequest) -> None:
        """Let both play, each with a name of its own on the same broker; assert what they say.

        What a race decides in the original may go well once: it has three tries to fail.
        """
        mine = ours(self.scenario, *self._arguments(request))
        failed: dict[str, Any] = {}
        for _ in range(TRIES):
            failed = original(self.control, self.scenario, *self._arguments(request)).result()
            if failed | self.fails == failed:
                break
        held = mine.result()
        assert failed | self.fails == failed
        assert held | self.holds == held

    def _arguments(self, request: pytest.FixtureRequest) -> list[str]:
        if self.broker is None:
            return []
        url = request.getfixturevalue(f"{self.broker}_broker").url
        return [url, f"c{uuid.uuid4().hex}"]


def rows_of(guide: str) -> set[int]:
    """Return the numbers of the faults of which `guide` has a row."""
    text = (ROOT / f"docs/how-to/{guide}.md").read_text()
    return {
        int(one)
        for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
        for one in row.split(",")
    }


def scenarios_of(package: str) -> set[str]:
    """Return the names of the scenarios that import `package`."""
    imports = re.compile(rf"^\s*(from|import) {package}\b", re.MULTILINE)
    return {file.stem for file in SCENARIOS.glob("*.py") if imports.search(file.read_text())}


if __name__ == "__main__":
    for one in sys.argv[1:] or CONTROLS:
        print(one, interpreter(one))
