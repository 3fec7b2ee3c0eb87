"""The frontier runs over delivered positions, in any order of settlement, with gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked._machines.window import Window

positions = st.lists(st.integers(0, 10_000), min_size=1, max_size=30, unique=True).map(sorted)


@given(positions, st.randoms(use_true_random=False))
def test_the_frontier_is_the_end_of_the_settled_prefix(given_positions, random) -> None:
    window = Window()
    for position in given_positions:
        window.deliver(position)
    order = list(given_positions)
    random.shuffle(order)
    settled: set[int] = set()
    for position in order:
        before = window.frontier
        moved = window.settle(position)
        settled.add(position)
        prefix = [
            p for i, p in enumerate(given_positions) if set(given_positions[: i + 1]) <= settled
        ]
        assert window.frontier == (prefix[-1] if prefix else None)
        assert moved == (window.frontier != before)
        left = [p for p in given_positions if p not in settled]
        assert window.oldest == min(left, default=None)
        assert window.unsettled_count == len(left)
        assert [p for p in given_positions if window.is_unsettled(p)] == left
        assert window.unsettled_to(position) == [p for p in left if p <= position]
        assert len(window) == len(given_positions) - len(prefix)
    assert window.frontier == given_positions[-1]


@given(positions)
def test_gaps_in_the_positions_do_not_hold_the_frontier_back(given_positions) -> None:
    window = Window()
    for position in given_positions:
        window.deliver(position)
        assert window.settle(position)
        assert window.frontier == position


def test_settling_what_was_not_delivered_or_twice_changes_nothing() -> None:
    window = Window()
    window.deliver(5)
    with pytest.raises(ValueError, match="position 4"):
        window.settle(4)
    window.settle(5)
    with pytest.raises(ValueError, match="position 5"):
        window.settle(5)
    assert window.frontier == 5


def test_positions_must_rise() -> None:
    window = Window()
    window.deliver(5)
    with pytest.raises(ValueError, match="position 5 was delivered after 5"):
        window.deliver(5)
    assert len(window) == 1


def test_the_one_that_is_wrong_among_many_is_named() -> None:
    window = Window()
    window.deliver(5, 6)
    with pytest.raises(ValueError, match="position 4"):
        window.settle(5, 4)
    with pytest.raises(ValueError, match="position 6"):
        window.settle(6, 6)
    assert window.unsettled_to(6) == [5, 6]


def test_an_empty_delivery_changes_nothing() -> None:
    window = Window()
    window.deliver()
    window.deliver(5)
    window.deliver()
    with pytest.raises(ValueError, match="position 4 was delivered after 5"):
        window.deliver(4)
    assert window.unsettled_to(6) == [5]
