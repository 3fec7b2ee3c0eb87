"""Beside the original's channels from PyPI: where they fail, `acked` holds, on the same broker.

`docs/how-to/move_from_starlette_web.md` has this as a table; a test keeps both the same.
"""

import pytest

from tests.compat.controls import MAY_INSTALL, Case, original, ours, rows_of, scenarios_of

pytestmark = MAY_INSTALL

CONTROL = "starlette-web"

CASES = (
    Case(
        (21,),
        "starlette_small_buffer",
        None,
        fails={"blocked": 4_995, "told": None},
        holds={"blocked": 0, "told": 4_995},
        control=CONTROL,
    ),
    Case(
        (),
        "starlette_several_groups",
        "redis",
        fails={"groups": [], "patterns": []},
        holds={
            "groups": [["g1", "to g1"], ["g2", "to g2"]],
            "patterns": [["g1", "to g1"], ["g2", "to g2"]],
        },
        control=CONTROL,
    ),
    Case(
        (2, 29),
        "starlette_close_wakes",
        "redis",
        fails={"reader": "hangs", "then": "KeyError"},
        holds={"reader": "ends", "then": "ok"},
        control=CONTROL,
    ),
    Case(
        (26, 28),
        "starlette_lost",
        "redis",
        fails={"reader": "ends", "told": False, "publisher": "succeeds", "next": "hangs"},
        holds={"reader": "reads", "told": True, "publisher": "succeeds", "next": "ok"},
        control=CONTROL,
    ),
    Case(
        (26, 29),
        "starlette_lost",
        "postgres",
        fails={"reader": "ends", "told": False, "next": "KeyError"},
        holds={"reader": "reads", "told": True, "publisher": "succeeds", "next": "ok"},
        control=CONTROL,
    ),
    Case(
        (29,),
        "starlette_masked",
        None,
        fails={"subscribe": "KeyError", "block": "ExceptionGroup"},
        holds={"subscribe": "PermissionError", "block": "LookupError"},
        control=CONTROL,
    ),
    Case(
        (34,),
        "starlette_concurrent_publish",
        "postgres",
        fails={"failed": 9, "errors": ["InterfaceError"], "heard": 1},
        holds={"failed": 0, "errors": [], "heard": 10},
        control=CONTROL,
    ),
    Case(
        (35,),
        "starlette_payload_limit",
        "postgres",
        fails={"7999": "ok", "8000": "InvalidParameterValueError"},
        holds={"7999": "ok", "8000": "NotSupportedError", "heard": 7999},
        control=CONTROL,
    ),
    Case(
        (37,),
        "starlette_undecodable",
        "redis",
        fails={"listener": "ExceptionGroup", "heard": []},
        holds={"listener": "ok", "heard": ["after"]},
        control=CONTROL,
    ),
    Case(
        (38,),
        "starlette_pickle",
        "redis",
        fails={"ran": "was here"},
        holds={"listener": "ok", "ran": None},
        control=CONTROL,
    ),
    Case(
        (),
        "starlette_two_loops",
        "redis",
        fails={"outcomes": ["ok", "ExceptionGroup", "ok"]},
        holds={"outcomes": ["ok", "ok", "ok"]},
        control=CONTROL,
    ),
    Case(
        (),
        "starlette_two_loops",
        "mqtt",
        fails={"outcomes": ["ok", "RuntimeError", "RuntimeError"]},
        holds={"outcomes": ["ok", "ok", "ok"]},
        control=CONTROL,
    ),
)

NOT_REPRODUCED = {23, 30, 31}
"""Rows that a library like this might have, and the original does not show; see the test below."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_where_the_original_fails_acked_holds(case: Case, request: pytest.FixtureRequest) -> None:
    case.play(request)


@pytest.mark.parametrize(
    ("scenario", "holds"),
    [
        ("starlette_slow", {"fast": "ok", "heard": 500}),
        ("starlette_at_once", {"heard": [10, 10]}),
    ],
)
def test_what_the_original_does_not_fail_at_acked_does_not_either(
    scenario: str, holds: dict[str, object]
) -> None:
    theirs, mine = original(CONTROL, scenario, "memory:", "g"), ours(scenario, "memory:", "g")
    assert theirs.result() == holds
    assert mine.result() == holds


def test_the_guide_has_a_row_for_each_fault_that_is_tested() -> None:
    tested = {row for case in CASES for row in case.rows}
    assert rows_of("move_from_starlette_web") == tested | NOT_REPRODUCED


def test_every_module_and_class_of_the_originals_channels_is_there() -> None:
    theirs, mine = original(CONTROL, "starlette_modules"), ours("starlette_modules").result()
    found = theirs.result()
    assert len(found) == 9
    missing = {name: set(there) - set(mine[name]) for name, there in found.items()}
    assert {name: one for name, one in missing.items() if one} == {}
    assert found["contrib.mqtt"] == []  # where its documentation promises one
    assert mine["contrib.mqtt"] == ["MQTTChannelLayer"]


def test_every_scenario_of_the_originals_is_played() -> None:
    applications = {"starlette_chat", "starlette_documented"}
    both = {"starlette_slow", "starlette_at_once", "starlette_modules"}
    assert scenarios_of("starlette_web") == {case.scenario for case in CASES} | applications | both
