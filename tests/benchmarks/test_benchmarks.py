"""The benchmarks stay runnable: one of them, in memory and small, and the table that is made of all."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from benchmarks import memory
from benchmarks.__main__ import OTHERS, fill
from benchmarks.contest import contests
from benchmarks.peers import LIBRARIES, ROOT, Peer, environment_of
from benchmarks.report import Report, Round
from benchmarks.results import Result
from benchmarks.table import ROWS, lines
from compose.environments import Environment, EnvironmentUnavailableError

BROKEN = "broken"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer that is installed, and whose program fails."""
    monkeypatch.setenv("ACKED_CACHE", str(tmp_path))
    monkeypatch.setitem(LIBRARIES, BROKEN, LIBRARIES["broadcaster"])
    environment = environment_of(BROKEN)
    python = environment.folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho it does not work >&2\nexit 1\n")
    python.chmod(0o755)
    (environment.folder / "installed").write_text("\n".join((sys.version, *environment.wanted)))
    return Peer(BROKEN, "any")


def test_a_contest_is_run_and_what_fails_in_it_or_beside_it_is_told(
    broken: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = memory.CONTESTS[0]
    ours = {name: one.contenders[name] for name in (memory.QUEUE, memory.ACKED)}
    small = replace(one, contenders={**ours, memory.BROADCASTER: broken}, count=(200, 200))
    unknown = replace(small, name="memory.100", contenders={"nobody": memory.by_acked(100)})
    monkeypatch.setattr(memory, "CONTESTS", (unknown, small))
    result = Result.begun(is_quick=True, note="A note.")
    fill(result, [unknown.name, small.name], tmp_path / "results", peers=True, rounds=1)

    assert result.failed.keys() == {unknown.name}
    report = result.reports[small.name]
    assert report.rounds.keys() == ours.keys()
    assert all(one.rate > 0 and one.cpu and one.peak for (one,) in report.rounds.values())
    assert report.missing == {memory.BROADCASTER: "it does not work"}
    assert report.ratios.keys() == {"acked / asyncio.Queue"}

    page, figures = sorted((tmp_path / "results").iterdir(), reverse=True)
    assert msgspec.json.decode(figures.read_bytes(), type=Result) == result
    text = page.read_text()
    assert "A note." in text
    assert "| memory, 1 subscriber | — (bounded deque) |" in text
    assert "| memory, 100 subscribers | failed: ContenderFailedError" in text
    assert "- memory.1, broadcaster: it does not work" in text


def test_a_row_compares_with_what_it_is_asked_of() -> None:
    report = Report("memory.1", "messages/s")
    rates = {memory.DEQUE: 400.0, memory.ACKED: 260.0, memory.BROADCASTER: 100.0}
    for name, rate in rates.items():
        report.add(name, Round(rate, cpu=1e6 / rate))
    (row,) = (line for line in lines({report.name: report}, {}) if "1 subscriber" in line)
    assert row.endswith("| 2.60 | 2.60 | 2.5 of broadcaster | yes |")
    report.leave_out(memory.BROADCASTER, "no network")
    (row,) = (line for line in lines({report.name: report}, {}) if "1 subscriber" in line)
    assert row.endswith("| — | — | 2.5 of broadcaster |  |")


def test_every_row_names_contenders_of_its_contest() -> None:
    for row in ROWS:
        if row.contest in OTHERS:
            continue
        (contest,) = (c for c in contests(row.contest.partition(".")[0]) if c.name == row.contest)
        named = {row.acked, row.other, row.best, row.naive or row.other, *row.peers}
        assert named <= contest.contenders.keys(), row.work


def test_every_peer_has_a_program_that_knows_its_way() -> None:
    modules = {row.contest.partition(".")[0] for row in ROWS if row.contest not in OTHERS}
    every = [contest for module in modules for contest in contests(module)]
    peers = [one for c in every for one in c.contenders.values() if isinstance(one, Peer)]
    assert {peer.name for peer in peers} == LIBRARIES.keys()
    for peer in peers:
        assert {peer.way, peer.fill or peer.way} <= set(ways_of(peer.name)), peer


def ways_of(peer: str) -> Iterator[str]:
    """Yield the keys of `WAYS`; the program itself cannot be imported here."""
    text = (ROOT / f"benchmarks/peers/on_{peer}.py").read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WAYS":
            assert isinstance(node.value, ast.Dict)
            yield from (ast.literal_eval(key) for key in node.value.keys if key)


def test_an_environment_that_cannot_be_made_is_said_to_be_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    environment = Environment(tmp_path / "one", ("anything",))
    with pytest.raises(EnvironmentUnavailableError, match="no reason given"):
        environment.python()
    assert not environment.is_made
    assert not environment.folder.exists()
