"""Which leases are renewed."""

from hypothesis import given
from hypothesis import strategies as st

from acked._machines.renewal import RENEWALS_A_LEASE, Renewal


@given(st.sets(st.integers(0, 20)), st.floats(0, 1e6))
def test_everything_held_is_renewed_at_once(held: set[int], now: float) -> None:
    renewal: Renewal[int] = Renewal(30.0, None)
    assert set(renewal.due(held, now)) == held


def test_a_lease_is_renewed_three_times_in_its_length() -> None:
    assert Renewal(30.0, None).interval * RENEWALS_A_LEASE == 30.0


@given(st.integers(1, 50))
def test_nothing_is_renewed_beyond_max_lease(turns: int) -> None:
    renewal: Renewal[str] = Renewal(3.0, 10.0)
    renewed = [bool(renewal.due(["held"], float(turn))) for turn in range(turns)]
    assert renewed == [turn < 10 for turn in range(turns)]


def test_what_was_held_for_longer_than_max_lease_is_named_to_be_given_back() -> None:
    renewal: Renewal[str] = Renewal(3.0, 10.0)
    renewal.due(["old", "extended"], 0.0)
    renewal.extended("extended", until=100.0)
    assert renewal.due(["old", "extended", "new"], 9.0) == ["old", "new"]
    assert renewal.outlived == []
    assert renewal.due(["old", "extended", "new"], 10.0) == ["new"]
    assert renewal.outlived == ["old"]
    assert renewal.due(["extended", "new"], 11.0) == ["new"]
    assert renewal.outlived == []


def test_what_comes_again_after_it_was_settled_starts_anew() -> None:
    renewal: Renewal[str] = Renewal(3.0, 10.0)
    renewal.due(["held"], 0.0)
    renewal.due([], 9.0)
    assert renewal.due(["held"], 11.0) == ["held"]


def test_an_extension_by_hand_is_not_cut_short() -> None:
    renewal: Renewal[str] = Renewal(3.0, None)
    renewal.due(["held"], 0.0)
    renewal.extended("held", until=20.0)
    assert [bool(renewal.due(["held"], float(now))) for now in (1, 16, 17, 18)] == [
        False,
        False,
        True,
        True,
    ]
