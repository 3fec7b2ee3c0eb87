"""A release is cut as the changelog's readers expect, or not at all; its rehearsal tries the rest."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.meta.source import ROOT
from tests.release.cut import NotReady, cut, cut_changelog, released

BEFORE = (
    "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-02\n\n- x\n"
)


def test_what_was_unreleased_stands_under_the_version() -> None:
    after = cut_changelog(BEFORE, "0.2.0", "2026-02-03")
    assert after == BEFORE.replace(
        "## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n"
    )
    assert released(after) == ["0.2.0", "0.1.0"]


def test_nothing_is_lost_by_cutting_twice() -> None:
    once = cut_changelog(BEFORE, "0.2.0", "2026-02-03")
    grown = once.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- Another.\n")
    twice = cut_changelog(grown, "0.10.0", "2026-03-04")
    assert released(twice) == ["0.10.0", "0.2.0", "0.1.0"]
    assert set(BEFORE.splitlines()) < set(twice.splitlines())


@pytest.mark.parametrize(
    ("changelog", "version", "words"),
    [
        (BEFORE, "0.1.0", "not newer than 0.1.0"),
        (BEFORE, "0.0.9", "not newer"),
        (BEFORE, "1.0", "no version"),
        (BEFORE, "0.2.0rc1", "no version"),
        (BEFORE, "01.2.0", "no version"),
        (BEFORE.replace("## [Unreleased]\n", ""), "0.2.0", "put it back"),
        (BEFORE.replace("### Added\n\n- A thing.\n", ""), "0.2.0", "nothing is unreleased"),
    ],
)
def test_what_cannot_be_released_is_refused(changelog: str, version: str, words: str) -> None:
    with pytest.raises(NotReady, match=words):
        cut_changelog(changelog, version, "2026-02-03")


def test_both_files_are_written_or_neither(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    cut(tmp_path, "99.0.0")
    changelog, settings = tmp_path / "CHANGELOG.md", tmp_path / "pyproject.toml"
    assert released(changelog.read_text())[0] == "99.0.0"
    assert '\nversion = "99.0.0"\n' in settings.read_text()

    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    settings.write_text("[project]\n")
    with pytest.raises(NotReady, match="0 lines with a version"):
        cut(tmp_path, "99.1.0")
    assert changelog.read_text() == (ROOT / "CHANGELOG.md").read_text()


def test_the_tools_of_a_release_are_pinned() -> None:
    lines = (ROOT / "tests/release/requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[\w-]+==[\d.]+", line)] == []
    newest = (ROOT / "constraints.txt").read_text().splitlines()
    assert next(pin for pin in pins if pin.startswith("hatchling")) in newest, "as the tests build"


FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))


def test_each_form_of_an_issue_asks_what_its_reader_needs() -> None:
    assert {form.stem for form in FORMS} == {"bug", "docs", "feature"}
    for form in FORMS:
        written = yaml.safe_load(form.read_text())
        assert written.keys() >= {"name", "description", "labels", "body"}, form.name
        fields = [one for one in written["body"] if one["type"] != "markdown"]
        assert len({one["id"] for one in fields}) == len(fields), form.name
        assert {one["type"] for one in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
        assert any(one.get("validations", {}).get("required") for one in fields), form.name


def test_no_form_is_for_holes_and_each_way_leads_to_the_policy() -> None:
    assert yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text()) == {
        "blank_issues_enabled": False
    }
    bug = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()
    assert "SECURITY.md" in bug
    policy = (ROOT / "SECURITY.md").read_text()
    for heading in ("Report", "What is supported", "In scope", "Out of scope"):
        assert f"## {heading}" in policy
