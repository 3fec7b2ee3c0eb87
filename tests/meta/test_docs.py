"""The documentation covers what there is."""

import re

import acked
from docs._hooks import layers
from tests.meta.source import ROOT, name_of, tracked

CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_everything_public_is_in_the_reference() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    shown = set(re.findall(r"^::: acked\.(\w+)$", pages, re.MULTILINE))
    assert set(acked.__all__) - shown == set()


def test_the_tables_that_help_to_choose_have_every_layer_with_its_kind() -> None:
    kinds = {layer: hasattr(layer.kind, "consume") for layer in layers()}
    words = {True: "ack-capable", False: "fire-and-forget"}
    page = (ROOT / "docs/how-to/choose_a_layer.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((one.kind.__name__, words[kind]) for one, kind in kinds.items())

    (row,) = re.findall(r"^\| layers today .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    cells = [set(re.findall(r"`([\w-]+)`", cell)) for cell in row.split("|")[2:4]]
    by_kind = [{one.schemes[0] for one in kinds if kinds[one] == kind} for kind in (True, False)]
    assert cells == by_kind


def test_each_decision_has_its_context_and_what_was_rejected() -> None:
    page = (ROOT / "docs/explanation/design_decisions.md").read_text()
    records = page.split("\n## ")[1:]
    assert len(records) >= 15
    parts = {
        one.splitlines()[0]: re.findall(r"^\*\*(\w+)\.\*\* ", one, re.MULTILINE) for one in records
    }
    wrong = [
        title for title, found in parts.items() if found != ["Context", "Decision", "Rejected"]
    ]
    assert wrong == []


def test_the_changelog_speaks_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert "## [Unreleased]" in text or f"## [{version[1]}]" in text
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGES


def test_each_make_target_is_explained_as_a_plain_command() -> None:
    targets = re.findall(r"^#   make ([\w-]+) ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    explained = (ROOT / "CONTRIBUTING.md").read_text()
    assert targets[:2] == ["demo", "test"]
    assert {"check", "chat", "bench", "docs"} < set(targets)
    assert [name for name in targets if f"`make {name}`" not in explained] == []


def test_no_file_names_a_package_registry() -> None:
    hosts = ("pypi" + ".org", "npmjs" + ".com", "maven" + ".org", "index" + "-url")
    naming = {
        name_of(file): host
        for file in tracked()
        for host in hosts
        if host.encode() in file.read_bytes()
    }
    assert naming == {}


def test_each_attack_that_is_told_of_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs/explanation/security.md").read_text()
    table = page.partition("## What was tried")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"\| `([\w/.]+\.py)::(test_\w+)` \|$", table, re.MULTILINE)
    assert len(named) == len(rows) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^ *(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
