"""What becomes of a message that comes again: every input that matters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked._machines.last_chance import Chance, chance

SHARED, ALONE, NONE = Chance.SHARED, Chance.ALONE, Chance.NONE


@pytest.mark.parametrize(
    ("most", "attempt", "failures", "was_alone", "expected"),
    [
        (3, 1, 0, False, SHARED),
        (3, 2, 0, False, SHARED),  # charged once, by whomever: two are left
        (3, 3, 0, False, ALONE),  # the last, and no nack so far
        (3, 3, 1, False, ALONE),
        (3, 3, 2, False, SHARED),  # each of the two before was its own failure
        (3, 4, 3, False, NONE),
        (3, 9, 3, False, NONE),
        (3, 9, 2, False, ALONE),  # what others did brings it no nearer to the end
        (3, 9, 0, True, NONE),
        (1, 1, 0, False, SHARED),
        (1, 2, 0, False, ALONE),
        (1, 2, 1, False, NONE),
        (3, 3, None, False, SHARED),
        (3, 4, None, False, NONE),
    ],
)
def test_a_table_of_chances(
    most: int, attempt: int, failures: int | None, was_alone: bool, expected: Chance
) -> None:
    assert chance(most, attempt, failures, was_alone=was_alone) is expected


@given(st.integers(1, 9), st.lists(st.sampled_from(["nack", "end"]), max_size=30))
def test_only_its_own_handler_brings_a_message_to_its_end(most: int, ends: list[str]) -> None:
    """However deliveries ended: it had `most` failures, or it was alone and did not come back."""
    failures, was_alone, fell_alone = 0, False, False
    for attempt, end in enumerate(["", *ends], 1):
        failures += end == "nack"
        fell_alone = was_alone and end == "end"
        given_it = chance(most, attempt, failures, was_alone=fell_alone)
        assert (given_it is NONE) == (fell_alone or failures >= most)
        if given_it is NONE:
            return
        was_alone = given_it is ALONE
