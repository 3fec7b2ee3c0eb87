"""The benchmarks stay runnable: one of them, in memory and small, and the table that is made of all."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.__main__ import fill
from benchmarks.contest import Contest, contests
from benchmarks.peers import LIBRARIES, ROOT, Peer, environment_of
from benchmarks.report import Report, Round
from benchmarks.results import Result
from benchmarks.table import ROWS, lines
from compose.environments import Environment, EnvironmentUnavailableError

BROKEN = "broken"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Contest:
    """Memory with one subscriber, one round of a few messages, in processes of their own."""
    contenders = {
        name: memory.CONTESTS[0].contenders[name] for name in (memory.QUEUE, memory.ACKED)
    }
    small = replace(memory.CONTESTS[0], contenders=contenders, count=(200, 200), rounds=(1, 1))
    monkeypatch.setattr(memory, "CONTESTS", (small,))
    return small


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


def test_a_contest_runs_and_a_peer_that_fails_is_left_out(small: Contest, broken: Peer) -> None:
    contenders = {**small.contenders, memory.BROADCASTER: broken}
    report = replace(small, contenders=contenders).run(quick=True)
    assert report.rounds.keys() == {memory.QUEUE, memory.ACKED}
    assert all(one.rate > 0 and one.cpu and one.peak for (one,) in report.rounds.values())
    assert report.missing == {memory.BROADCASTER: "it does not work"}
    assert report.ratios.keys() == {"acked / asyncio.Queue"}
    assert "left out: " in report.show()


def test_the_table_goes_on_when_a_contest_fails(
    small: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = replace(small, name="memory.100", contenders={"nobody": memory.by_acked(100)})
    monkeypatch.setattr(memory, "CONTESTS", (unknown, small))
    result = Result.begun(is_quick=True, note="A note.")
    fill(result, [unknown.name, small.name], tmp_path, peers=False)
    assert result.failed.keys() == {unknown.name}
    assert result.reports.keys() == {small.name}
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    assert "| memory, 1 subscriber | — (bounded deque) |" in text
    assert "A note." in text
    assert "| memory, 100 subscribers | failed: ContenderFailedError" in text
    assert len(list(tmp_path.iterdir())) == 2


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
        (contest,) = (c for c in contests(row.contest.partition(".")[0]) if c.name == row.contest)
        named = {row.acked, row.best, row.against or row.best, row.naive or row.best, *row.peers}
        assert named <= contest.contenders.keys(), row.work


def test_every_peer_has_a_program_that_knows_its_way() -> None:
    modules = {row.contest.partition(".")[0] for row in ROWS}
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
