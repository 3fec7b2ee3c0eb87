"""Beside the original from PyPI: where it fails, `acked` holds, on the same real broker.

`docs/how-to/move_from_broadcaster.md` has this as a table; a test keeps both the same.
"""

import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from compose.environments import EnvironmentUnavailableError
from tests.compat import controls
from tests.compat.controls import (
    Case,
    Playing,
    original,
    ours,
    rows_of,
    scenarios_of,
)

pytestmark = controls.MAY_INSTALL

REDIS7, NEWEST = "broadcaster-redis7", "broadcaster-newest"


CASES = (
    Case(
        (2,),
        "disconnect_wakes",
        "redis",
        fails={"disconnect": "ok", "reader": "hangs"},
        holds={"disconnect": "ok", "reader": "ok"},
    ),
    Case(
        (21,),
        "unbounded_buffer",
        None,
        fails={"waiting": 100_000, "told": None},
        # One of the 65,536 that wait is the end mark, which pushed out one more.
        holds={"waiting": 65_535, "told": 34_465},
    ),
    Case(
        (24,),
        "busy_topic",
        "redis",
        fails={"starved": True},
        holds={"starved": False},
    ),
    Case(
        (26, 28),
        "lost_redis",
        "redis",
        fails={"heard_by": 0, "reader": "hangs", "publisher": "succeeds", "disconnect": "ok"},
        holds={"heard_by": 0, "reader": "reads", "told": True, "publisher": "succeeds"},
    ),
    Case(
        (26, 29),
        "lost_postgres",
        "postgres",
        fails={"reader": "hangs", "subscribe": "KeyError"},
        holds={"reader": "reads", "told": True, "subscribe": "ok"},
    ),
    Case(
        (29,),
        "failing_subscribe",
        None,
        fails={"raised": "KeyError"},
        holds={"raised": "PermissionError"},
    ),
    Case(
        (30,),
        "two_first_subscribers",
        "redis",
        fails={"heard": ["KeyError", []]},
        holds={"heard": [["to both"], ["to both"]]},
        control=NEWEST,
    ),
    Case(
        (30,),
        "two_first_subscribers",
        "postgres",
        fails={"heard": [["to both"], "KeyError"]},
        holds={"heard": [["to both"], ["to both"]]},
    ),
    Case(
        (32,),
        "leave_the_last",
        "redis",
        fails={"heard": [[], []]},
        holds={"heard": [["message 0"], ["message 1"]]},
        control=NEWEST,
    ),
    Case(
        (34,),
        "concurrent_publish",
        "postgres",
        fails={"failed": 9, "errors": ["InterfaceError"], "heard": 1},
        holds={"failed": 0, "errors": [], "heard": 10},
    ),
    Case(
        (36,),
        "leave_one_topic",
        "kafka",
        fails={"before": ["first"], "after": []},
        holds={"before": ["first"], "after": ["second"]},
    ),
    Case(
        (28, 37),
        "undecodable",
        "redis",
        fails={"heard": [], "published": "ok"},
        holds={"heard": ["\ufffd\ufffd", "after"], "published": "ok"},
    ),
)

NOT_REPRODUCED = {27, 31, 33}
"""Rows seen at broadcaster that release 0.3.1 does not show here; the guide says why."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_where_the_original_fails_acked_holds(case: Case, request: pytest.FixtureRequest) -> None:
    case.play(request)


def test_on_an_older_driver_the_original_delivers_so_the_newest_one_is_what_breaks_it(
    redis_broker: Any,
) -> None:
    playing = original(REDIS7, "leave_the_last", redis_broker.url, f"c{uuid.uuid4().hex}")
    assert playing.result() == {"heard": [["message 0"], ["message 1"]]}


def test_the_guide_has_a_row_for_each_fault_that_is_tested() -> None:
    tested = {row for case in CASES for row in case.rows}
    assert rows_of("move_from_broadcaster") == tested | NOT_REPRODUCED


def test_every_module_and_class_of_the_original_is_there() -> None:
    theirs = original(REDIS7, "modules")
    mine = ours("modules").result()
    found = theirs.result()
    assert len(found) == 8
    missing = {name: set(there) - set(mine.get(name, ())) for name, there in found.items()}
    assert {name: one for name, one in missing.items() if one} == {}
    newer = {name.replace("_backends", "backends") for name in found}  # as on its main branch
    assert newer <= mine.keys()


def test_every_scenario_of_the_originals_is_played() -> None:
    played = {case.scenario for case in CASES} | {"chat", "chat_server", "own_backend", "modules"}
    assert scenarios_of("broadcaster") == played


def test_a_scenario_that_does_not_end_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)")
    playing = Playing(sys.executable, str(tmp_path / "sleeps"))
    assert playing.result(timeout=0.1) == {"outcome": "hangs"}


@pytest.mark.parametrize(
    ("variable", "value", "outcome"),
    [
        ("CI", "", pytest.skip.Exception),
        ("CI", "true", pytest.fail.Exception),
        ("ACKED_REQUIRE", "redis", pytest.fail.Exception),
    ],
)
def test_a_control_that_cannot_be_had_is_a_skip_or_where_it_must_not_be_an_error(
    variable: str, value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(_: str) -> Path:
        raise EnvironmentUnavailableError("no network")

    for one in ("CI", "ACKED_REQUIRE"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(controls, "interpreter", no_network)
    with pytest.raises(outcome, match="cannot be had: no network"):
        original(REDIS7, "chat")
