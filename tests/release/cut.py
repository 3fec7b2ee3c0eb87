"""`python -m tests.release.cut 0.2.0`: write the version, and cut the changelog for it.

It changes `pyproject.toml` and `CHANGELOG.md` of the current folder, or neither. Committing, tagging
and all that follows is yours: see "A release" in `CONTRIBUTING.md`.
"""

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

UNRELEASED = "## [Unreleased]\n"
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)


class NotReady(Exception):
    """Say why this version cannot be released now, and what to do."""


def parts(version: str) -> tuple[int, ...]:
    """Return a version as numbers; raise `NotReady` for one that is not three of them."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise NotReady(f"{version!r} is no version: say three numbers, like 0.2.0")
    return tuple(map(int, version.split(".")))


def released(changelog: str) -> list[str]:
    """Return the versions that have been cut, in the order of the file."""
    return RELEASE.findall(changelog)


def cut_changelog(changelog: str, version: str, day: str) -> str:
    """Return `changelog` with what is unreleased under `version`; raise `NotReady` otherwise."""
    number = parts(version)
    newer = [one for one in released(changelog) if parts(one) >= number]
    if newer:
        raise NotReady(f"{version} is not newer than {newer[0]}, which the changelog has")
    before, mark, rest = changelog.partition(UNRELEASED)
    if not mark:
        raise NotReady(f"the changelog has no line {UNRELEASED.strip()!r}: put it back")
    if not re.match(r"\s*### ", rest):
        raise NotReady("nothing is unreleased: say in the changelog what changes for users")
    return f"{before}{mark}\n## [{version}] - {day}\n{rest}"


def with_version(settings: str, version: str) -> str:
    """Return `pyproject.toml` with the version written."""
    changed, count = re.subn(
        r'^version = ".+"$', f'version = "{version}"', settings, flags=re.MULTILINE
    )
    if count != 1:
        raise NotReady(f"pyproject.toml has {count} lines with a version: there must be one")
    return changed


def cut(folder: Path, version: str) -> None:
    """Write both files in `folder`, or neither."""
    settings, changelog = folder / "pyproject.toml", folder / "CHANGELOG.md"
    day = datetime.now(UTC).date().isoformat()
    texts = {
        changelog: cut_changelog(changelog.read_text(), version, day),
        settings: with_version(settings.read_text(), version),
    }
    for file, text in texts.items():
        file.write_text(text)


def main() -> int:
    """Cut, and say what comes next."""
    parser = argparse.ArgumentParser(prog="python -m tests.release.cut", description=__doc__)
    parser.add_argument("version")
    version = parser.parse_args().version
    try:
        cut(Path.cwd(), version)
    except NotReady as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"cut {version}; next: git commit --all --message 'release: {version}'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
