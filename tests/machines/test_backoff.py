"""Waits follow their schedule, for ever, with any factor."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked._machines.backoff import Backoff
from acked.errors import ConfigurationError

backoffs = st.builds(
    lambda initial, more, factor: Backoff(
        initial=initial, maximum=initial + more, factor=factor, spread=0.5
    ),
    st.floats(0, 10),
    st.floats(0, 100),
    st.floats(1, 5),
)


@given(backoffs, st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_finite_and_within_its_bounds(backoff, attempt, chance) -> None:
    delay = backoff.delay(attempt, chance)
    whole = backoff.delay(attempt)
    assert math.isfinite(delay)
    assert whole <= backoff.maximum * (1 + 1e-9)
    assert whole * 0.5 <= delay <= whole


@given(backoffs, st.integers(1, 100))
def test_waits_never_shrink(backoff, attempt) -> None:
    assert backoff.delay(attempt + 1) >= backoff.delay(attempt) * (1 - 1e-9)


def test_the_schedule_is_followed_with_a_factor_that_is_not_whole() -> None:
    backoff = Backoff(initial=0.1, factor=1.5, maximum=1.0)
    waits = [backoff.delay(attempt) for attempt in range(1, 9)]
    assert waits == pytest.approx([0.1, 0.15, 0.225, 0.3375, 0.50625, 0.759375, 1.0, 1.0])


@pytest.mark.parametrize("attempt", [1, 50, 10**9])
def test_no_initial_wait_is_no_wait_ever(attempt: int) -> None:
    assert Backoff(initial=0.0).delay(attempt) == 0.0


@pytest.mark.parametrize("initial", [0.5, 1.0, 2.0])
def test_the_first_wait_is_the_initial_one(initial: float) -> None:
    assert Backoff(initial=initial).delay(1) == initial


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial": -1.0},
        {"initial": 5.0, "maximum": 1.0},
        {"factor": 0.5},
        {"spread": 2.0},
        {"maximum": math.inf},
    ],
)
def test_a_schedule_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="no schedule"):
        Backoff(**wrong)


def test_a_spread_may_take_the_whole_wait_off() -> None:
    assert Backoff(initial=1.0, spread=1.0).delay(1, 0.75) == 0.25
