"""The runs side by side: every test belongs to a room, and no failure gets lost between them."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compose.native.process import wait_until
from tests import pythons, rooms
from tests.covered import FLOORS, GOAL, GOALS, Figures, groups_of
from tests.fix_marks import refuse_unmarked
from tests.meta.source import PACKAGE, ROOT

PASSED = "..\n==== short test summary info ====\nSKIPPED [1] a.py:1: no broker\n"
CLOSING = "==== 2 passed, 1 skipped, 1 warning in 3.10s ===="


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.rooms", *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_every_test_file_is_in_one_room() -> None:
    shared_out = [file for files in rooms.rooms().values() for file in files]
    assert sorted(shared_out) == sorted((ROOT / "tests").rglob("test_*.py"))
    assert set(rooms.LONGEST_FIRST) <= rooms.rooms().keys()


@pytest.mark.parametrize(
    ("file", "room"),
    [
        ("layers/test_kafka_note.py", "layers/kafka"),
        ("layers/kafka/test_note.py", "layers/kafka"),
        ("layers/redis_streams/test_check.py", "layers/redis_streams"),
        ("layers/test_redis_check.py", "layers/redis"),
        ("conformance/test_sqlite_queue.py", "conformance/sqlite"),
        ("core/test_desk.py", "core"),
    ],
)
def test_a_room_is_told_by_the_path(file: str, room: str) -> None:
    assert rooms.room_of(rooms.TESTS / file) == room


def test_a_run_that_passed_is_counted_and_says_what_it_skipped() -> None:
    one = rooms.Ended("core", 0, f"{PASSED}{CLOSING}\n\nException ignored in: ...\n", 3.1)
    assert one.has_passed
    assert one.counts == {"passed": 2, "skipped": 1, "warning": 1}
    assert one.told[0] == "SKIPPED [1] a.py:1: no broker"


@pytest.mark.parametrize(
    ("status", "output", "counts"),
    [
        (1, "E boom\n==== 1 failed, 2 passed in 1.00s ====", {"failed": 1, "passed": 2}),
        (1, "E boom\n==== 2 passed, 3 errors in 1.00s ====", {"passed": 2, "error": 3}),
        (-11, "Segmentation fault", {"error": 1}),
        (0, "somebody called exit", {"error": 1}),
        (1, CLOSING, {"passed": 2, "skipped": 1, "warning": 1, "error": 1}),
        (4, "", {"error": 1}),
    ],
)
def test_whatever_else_happened_is_a_failure_with_all_its_words(
    status: int, output: str, counts: Mapping[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    good = rooms.Ended("codecs", 0, CLOSING, 3.1)
    bad = rooms.Ended("core", status, output, 1.0)
    assert bad.counts == counts
    assert rooms.tell([good, bad, good], lambda _: False) == 1
    printed = capsys.readouterr().out
    assert "FAILED: core: " in printed
    assert output.partition("\n====")[0] in printed or output == CLOSING
    assert any(word in printed.splitlines()[-1] for word in ("failed", "error"))


def test_a_run_of_nothing_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = rooms.Ended("core", rooms.NO_TESTS, "==== 9 deselected in 0.10s ====", 0.1)
    assert nothing.has_passed
    assert rooms.tell([nothing], lambda _: False) == 1
    assert rooms.tell([nothing, rooms.Ended("codecs", 0, CLOSING, 3.1)], lambda _: False) == 0
    assert "2 passed, 1 skipped, 9 deselected, 1 warning in" in capsys.readouterr().out


FAILED_ONE = "FAILED tests/a.py::test_b[x y] - AssertionError: a - b\n==== 1 failed in 1.00s ===="


def test_a_failure_is_told_by_its_name_or_not_at_all() -> None:
    assert rooms.Ended("a", 1, FAILED_ONE, 1).failed == ["tests/a.py::test_b[x y]"]
    assert rooms.Ended("a", -11, FAILED_ONE, 1).failed == ["tests/a.py::test_b[x y]"]
    assert rooms.Ended("a", 1, "==== 1 failed in 1.00s ====", 1).failed is None
    assert rooms.Ended("a", -11, "Segmentation fault", 1).failed is None


@pytest.mark.parametrize(
    ("answer", "word"), [(CLOSING, "UNSTEADY"), (FAILED_ONE, "FAILED, alone too")]
)
def test_a_few_failures_are_looked_at_again_alone(
    capsys: pytest.CaptureFixture[str], answer: str, word: str
) -> None:
    class Once(rooms.Runs):
        def run(self, room: str, chosen: Sequence[Path | str]) -> rooms.Ended:
            assert chosen == ["tests/a.py::test_b[x y]"]
            return rooms.Ended(room, int(answer is FAILED_ONE), answer, 1)

    bad = [rooms.Ended("a", 1, FAILED_ONE, 1)]
    assert rooms.second_look(Once([], []), bad) == (answer is CLOSING)
    assert word in capsys.readouterr().out


def test_of_several_each_is_told_by_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    class OneOfTwo(rooms.Runs):
        def run(self, room: str, chosen: Sequence[Path | str]) -> rooms.Ended:
            assert len(chosen) == 2
            return rooms.Ended(room, 1, FAILED_ONE, 1)

    other = FAILED_ONE.replace("test_b", "test_c")
    bad = [rooms.Ended("a", 1, FAILED_ONE, 1), rooms.Ended("b", 1, other, 1)]
    assert not rooms.second_look(OneOfTwo([], []), bad)
    told = capsys.readouterr().out
    assert "FAILED, alone too: tests/a.py::test_b[x y]" in told
    assert "UNSTEADY, passed alone: tests/a.py::test_c[x y]" in told


def test_many_failures_are_not_looked_at_again() -> None:
    class Never(rooms.Runs):
        def run(self, room: str, chosen: Sequence[Path | str]) -> rooms.Ended:
            raise AssertionError("it is no accident")

    many = [rooms.Ended("a", 1, FAILED_ONE, 1)] * (rooms.SECOND_LOOKS + 1)
    assert not rooms.second_look(Never([], []), many)
    unknown = rooms.Ended("a", -11, "Segmentation fault", 1)
    assert not rooms.second_look(Never([], []), [rooms.Ended("a", 1, FAILED_ONE, 1), unknown])


def test_the_last_line_is_that_of_pytest() -> None:
    done = run("codecs", "machines", "--", "-k", "json or lease")
    assert done.returncode == 0, done.stdout
    assert rooms._CLOSING.fullmatch(done.stdout.splitlines()[-1])


STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_a_run_that_keeps_the_interrupt_to_itself_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rooms, "PATIENCE", 0.1)
    began = tmp_path / "began"
    runs = rooms.Runs(["-c", STUBBORN, str(began)], [])
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(runs.run, "core", [])
        assert wait_until(began.exists, 20)
        runs.interrupt()
        assert under_way.result(20).status == -signal.SIGTERM


def test_a_room_that_is_not_there_is_named() -> None:
    done = run("atlantis")
    assert done.returncode == 2
    assert "atlantis" in done.stderr


def test_a_test_that_gets_a_broker_unmarked_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="pytest -m kafka"):
        refuse_unmarked("kafka")


@pytest.mark.kafka
def test_a_marked_one_gets_it(request: pytest.FixtureRequest) -> None:
    refuse_unmarked("kafka")
    assert request.node.get_closest_marker("broker")


def test_every_file_of_the_package_has_a_floor() -> None:
    parts = {next(groups_of(str(file))) for file in PACKAGE.rglob("*.py")}
    assert parts >= FLOORS.keys() | GOALS.keys()
    assert all(floor < GOALS.get(part, GOAL) for part, floor in FLOORS.items())


def test_a_figure_is_the_lower_of_the_two_and_never_rounded_up() -> None:
    assert Figures(1000, 999, 100, 100).percent == 99.9
    assert Figures(10, 10, 3, 2).percent == 66.6
    assert Figures(10_000, 9999, 0, 0).percent == 99.9


def test_the_classifiers_are_what_is_tried() -> None:
    assert pythons.versions() == ["3.11", "3.12", "3.13"]
    assert pythons.answers(sys.executable, "{}.{}".format(*sys.version_info))
    assert not pythons.answers(sys.executable, "2.7")
    assert not pythons.answers(str(Path("/bin/false")), "3.11")
