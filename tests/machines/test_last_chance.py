"""What becomes of a message that comes again: every input that matters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked._machines.last_chance import Chance, chance

SHARED, ALONE, NONE = Chance.SHARED, Chance.ALONE, Chance.NONE


@pytest.mark.parametrize(
    ("most", "attempt", "failures", "ended_alone", "expected"),
    [
        (3, 1, 0, 0, SHARED),
        (3, 2, 0, 0, SHARED),  # charged once, by whomever: two are left
        (3, 3, 0, 0, ALONE),  # the last, and no nack so far
        (3, 3, 1, 0, ALONE),
        (3, 3, 2, 0, SHARED),  # each of the two before was its own failure
        (3, 4, 3, 0, NONE),
        (3, 9, 3, 0, NONE),
        (3, 9, 2, 0, ALONE),  # what others did brings it no nearer to the end
        (3, 4, 0, 1, ALONE),  # once it may have been a coincidence
        (3, 5, 0, 2, NONE),
        (3, 9, 2, 1, ALONE),
        (9, 5, 0, 2, SHARED),  # given more deliveries since then, it has some left
        (1, 1, 0, 0, SHARED),
        (1, 2, 0, 0, ALONE),
        (1, 2, 1, 0, NONE),
        (3, 3, None, 0, SHARED),
        (3, 4, None, 0, NONE),
    ],
)
def test_a_table_of_chances(
    most: int, attempt: int, failures: int | None, ended_alone: int, expected: Chance
) -> None:
    assert chance(most, attempt, failures, ended_alone) is expected


@given(st.integers(1, 9), st.lists(st.sampled_from(["nack", "end"]), max_size=30))
def test_only_its_own_handler_brings_a_message_to_its_end(most: int, ends: list[str]) -> None:
    """However deliveries ended: it failed `most` times, or twice alone it did not come back."""
    failures = ended_alone = 0
    given_it = SHARED
    for attempt, end in enumerate(["", *ends], 1):
        failures += end == "nack"
        ended_alone = 0 if end == "nack" else ended_alone + (given_it is ALONE)
        given_it = chance(most, attempt, failures, ended_alone)
        assert (given_it is NONE) == (ended_alone == 2 or failures >= most)
        if given_it is NONE:
            return


@given(st.integers(1, 9))
def test_what_ends_every_process_is_given_up_after_one_delivery_more(most: int) -> None:
    ended_alone, deliveries, given_it = 0, 0, SHARED
    while given_it is not NONE:
        deliveries += 1
        ended_alone += given_it is ALONE
        given_it = chance(most, deliveries, 0, ended_alone)
    assert deliveries - 1 == max(most, 2) + 1
