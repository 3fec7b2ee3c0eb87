"""`python -m tests.release`: rehearse a release, all of it, to an index on this machine.

It clones the last commit, cuts the changelog there, commits, tags, builds from the tag, checks the
metadata, uploads, sees a second upload refused, and installs from the index into a fresh environment,
where a program runs. Nothing of this checkout changes and nothing leaves the machine; what `acked`
depends on is installed as usual. Exit status 1 names the step that failed.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.release.cut import parts, released
from tests.release.local_index import local_index

ROOT = Path(__file__).resolve().parents[2]
WHO = ("-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost")
NOBODY = {"TWINE_USERNAME": "rehearsal", "TWINE_PASSWORD": "rehearsal"}
"""A local index asks for no password, and the uploader insists on one."""
SHIPPED = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "src/acked/py.typed")


class StepFailed(Exception):
    """Say which step failed, and its last words."""


def run(step: str, *command: str | Path, folder: Path, more: dict[str, str] | None = None) -> str:
    """Run one step and return what it printed; raise `StepFailed` if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(more or {})},
    )
    if done.returncode != 0:
        raise StepFailed(f"{step}: {shlex.join(words)}\n{done.stdout}")
    print(f"{step}: ok", flush=True)
    return done.stdout


def next_version(folder: Path) -> str:
    """Return the version to rehearse: that of `pyproject.toml`, or the one after the newest cut."""
    text = (folder / "pyproject.toml").read_text()
    written = text.partition('\nversion = "')[2].partition('"')[0]
    cut = released((folder / "CHANGELOG.md").read_text())
    if written not in cut:
        return written
    major, minor, patch = max(map(parts, cut))
    return f"{major}.{minor}.{patch + 1}"


def clone_cut_and_tag(folder: Path, version: str | None) -> str:
    """Make `folder` a clone with a release commit and its tag; return the version."""
    run("clone", "git", "clone", "--quiet", "--no-hardlinks", ROOT, folder, folder=ROOT)
    version = version or next_version(folder)
    run("cut", sys.executable, "-m", "tests.release.cut", version, folder=folder)
    message = f"release: {version}"
    run("commit", "git", *WHO, "commit", "--quiet", "--all", "-m", message, folder=folder)
    run("tag", "git", *WHO, "tag", "--annotate", f"v{version}", "-m", message, folder=folder)
    return version


def build(folder: Path, version: str) -> list[Path]:
    """Build both archives, the wheel from the sdist; return them after a look inside."""
    run("build", sys.executable, "-m", "build", "--no-isolation", folder=folder)
    sdist = folder / f"dist/acked-{version}.tar.gz"
    wheel = folder / f"dist/acked-{version}-py3-none-any.whl"
    run("metadata", sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, folder=folder)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in SHIPPED if name not in names]
    with zipfile.ZipFile(wheel) as packed:
        missing += [name for name in ("acked/py.typed",) if name not in packed.namelist()]
    if missing:
        raise StepFailed(f"build: the archives lack {', '.join(missing)}")
    return [sdist, wheel]


def upload(archives: list[Path], index: str, folder: Path) -> None:
    """Upload, and see that what was uploaded once cannot be replaced."""
    command = [
        sys.executable,
        "-m",
        "twine",
        "upload",
        "--non-interactive",
        "--disable-progress-bar",
    ]
    command += ["--repository-url", index, *map(str, archives)]
    run("upload", *command, folder=folder, more=NOBODY)
    try:
        run("second upload", *command, "--verbose", folder=folder, more=NOBODY)
    except StepFailed as refused:
        if "already exists" not in " ".join(str(refused).split()):
            raise
        print("second upload: refused, as it must be", flush=True)
    else:
        raise StepFailed("second upload: the index took the same version twice")


def install_and_use(index: str, version: str, folder: Path) -> None:
    """Install from `index` into a fresh environment, and run a program and the command there."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    pip = (python, "-m", "pip", "install", "--quiet")
    own = {"PIP_INDEX_URL": f"{index}/simple/", "PIP_NO_CACHE_DIR": "1", "PIP_EXTRA_INDEX_URL": ""}
    run("install", *pip, "--no-deps", f"acked=={version}", folder=folder, more=own)
    # Satisfied already by what came from the local index: only what it depends on is fetched.
    run("dependencies", *pip, f"acked=={version}", folder=folder)
    program = (ROOT / "tests/release/smoke.py").read_text()
    (folder / "smoke.py").write_text(program)
    run("program", python, "smoke.py", version, folder=folder)
    run("command's extra", *pip, f"acked[cli]=={version}", folder=folder)
    run("command", folder / "bin/acked", "--help", folder=folder)


def main() -> int:
    """Rehearse, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=__doc__)
    parser.add_argument("--version", help="the version to rehearse; else the next")
    wanted = parser.parse_args().version
    with tempfile.TemporaryDirectory(prefix="acked-release-") as name:
        folder = Path(name)
        try:
            version = clone_cut_and_tag(folder / "clone", wanted)
            archives = build(folder / "clone", version)
            with local_index(folder / "index") as index:
                upload(archives, index, folder)
                install_and_use(index, version, folder / "fresh")
        except StepFailed as error:
            print(error, file=sys.stderr)
            return 1
    print(f"a release of {version} would have gone well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
