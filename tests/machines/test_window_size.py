"""What is fetched ahead follows what the reader handles."""

from hypothesis import given
from hypothesis import strategies as st

from acked._machines.window_size import AHEAD, WindowSize

MOST = 256


def after(*fetches: tuple[int, float]) -> int:
    """Return the size after fetches between which so many were taken in so many seconds."""
    window, taken, now = WindowSize(MOST), 0, 0.0
    window.fetched(0, now)
    for count, elapsed in fetches:
        taken, now = taken + count, now + elapsed
        window.fetched(taken, now)
    return window.size


def test_it_begins_with_nothing_ahead() -> None:
    assert WindowSize(MOST).size == after() == 0


def test_a_fast_reader_has_twice_as_much_each_time_up_to_in_flight() -> None:
    assert [after(*[(1, 1e-4)] * n) for n in range(1, 11)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        256,
    ]


def test_a_steady_reader_has_what_it_takes_in_a_tenth_of_a_second() -> None:
    assert after(*[(1, 0.02)] * 20) == 5


def test_a_reader_that_takes_long_for_each_has_nothing_ahead() -> None:
    assert after(*[(1, 1.1 * AHEAD)] * 5) == 0


def test_a_pace_that_falls_is_followed_at_once() -> None:
    assert after(*[(1, 1e-4)] * 9, (1, 0.05)) == 2
    assert after(*[(1, 1e-4)] * 9, (0, 5.0)) == 0


def test_a_fetch_that_gave_the_reader_no_time_teaches_nothing() -> None:
    assert after(*[(1, 1e-4)] * 5, (0, 1e-5)) == after(*[(1, 1e-4)] * 5) == 16


def test_what_waited_for_too_long_empties_it() -> None:
    window = WindowSize(MOST)
    window.fetched(0, 0.0)
    window.fetched(1, 1e-4)
    window.reset()
    assert window.size == 0


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 10))), st.integers(1, 500))
def test_it_never_exceeds_in_flight_nor_what_would_wait_too_long(
    fetches: list[tuple[int, float]], most: int
) -> None:
    window, taken, now = WindowSize(most), 0, 0.0
    window.fetched(0, now)
    for count, elapsed in fetches:
        before, taken, now = window.size, taken + count, now + elapsed
        window.fetched(taken, now)
        assert 0 <= window.size <= min(most, max(1, 2 * before))


def test_a_reader_that_took_nothing_for_as_long_as_may_wait_has_nothing_ahead() -> None:
    window = WindowSize(MOST)
    window.fetched(0, -1e-4)
    window.fetched(1, 0.0)
    assert window.size == 1
    window.fetched(1, AHEAD)
    assert window.size == 0
