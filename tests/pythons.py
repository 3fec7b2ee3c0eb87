"""Run rooms on every other Python of the classifiers that this machine has.

    python -m tests.pythons core machines

Each gets a new environment of its own, `.venv-3.12`, with the versions of `constraints.txt` and none of
the tools. The rooms run there twice: on asyncio while trio is not installed, as most users have
it, and then on trio. Tests that ask for a broker do not take part. The status is 1 if any failed.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACKED = ".[redis,postgres,kafka,mqtt,pydantic,cli,conformance]"
PINS = ROOT / "constraints.txt"
ASKED = "import sys, ensurepip, venv; print('{}.{}'.format(*sys.version_info))"
"""What an interpreter must answer: that it can make environments, and its version."""


def versions() -> list[str]:
    """Return the versions of Python that the classifiers promise."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = (re.fullmatch(r".*:: Python :: (3\.\d+)", line) for line in project["classifiers"])
    return [one[1] for one in found if one]


def interpreters(version: str) -> Iterator[str]:
    """Yield where a Python may be: on the path, or among those of pyenv."""
    if on_the_path := shutil.which(f"python{version}"):
        yield on_the_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def answers(python: str, version: str) -> bool:
    """Whether an interpreter is one; pyenv has names on the path that are not."""
    asked = subprocess.run([python, "-c", ASKED], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.strip() == version


def environment(python: str, version: str) -> Path:
    """Return the Python of a new environment for `version`, where nothing is left of trio."""
    folder = ROOT / f".venv-{version}"
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    own = folder / "bin" / "python"
    pip(own, "install", "--constraint", str(PINS), "--editable", ACKED, "pytest-timeout")
    return own


def pip(python: Path, *words: str) -> None:
    """Run pip of an environment, quietly unless it fails."""
    quietly = ["-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, *quietly, *words], cwd=ROOT, check=True)


def has_passed(python: Path, rooms: Sequence[str], chosen: str) -> bool:
    """Whether the tests of `rooms` pass that are `chosen` by their marks."""
    command = [python, "-m", "tests.rooms", *rooms, "--", "-m", f"not broker and {chosen}"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main(rooms: Sequence[str]) -> int:
    """Try all versions but the one that runs this; return the exit status."""
    is_good = True
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in versions():
        if version == this:
            continue
        python = next((one for one in interpreters(version) if answers(one, version)), None)
        if python is None:
            print(f"Python {version}: not on this machine", flush=True)
            continue
        own = environment(python, version)
        print(f"Python {version}, asyncio, trio not installed:", flush=True)
        is_good &= has_passed(own, rooms, "not trio")
        pip(own, "install", "--constraint", str(PINS), "trio")
        print(f"Python {version}, trio:", flush=True)
        is_good &= has_passed(own, rooms, "trio")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
