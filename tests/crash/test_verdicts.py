"""The accounts of a crash run find what they are there to find: each loss is planted here."""

import pytest

from tests.crash.verdicts import Crew, Debts, Listener, News


def crew_of(*diaries: str) -> Crew:
    """Return a crew whose diaries are called a, b, c; a step a word, its time its place."""
    crew = Crew()
    when = 0
    for name, text in zip("abc", diaries, strict=False):
        lines = []
        for step in text.split(", "):
            when += 1
            lines.append(f"{when} {step}")
        crew.read(name, lines)
    return crew


def test_a_message_that_was_accepted_and_never_delivered_is_lost() -> None:
    crew = crew_of("accepted 1, accepted 2", "got 1, asked 1, acked 1")
    assert crew.verdict([]) == Debts(2, 1, 0, 1, 0, 0)


def test_a_message_that_a_killed_consumer_had_not_yet_asked_to_ack_is_lost() -> None:
    crew = crew_of("accepted 1, accepted 2", "got 1, asked 1, got 2")
    assert crew.verdict(["b"]) == Debts(2, 1, 1, 1, 0, 0)


def test_an_ack_that_never_returns_in_a_living_consumer_is_a_loss() -> None:
    crew = crew_of("accepted 1", "got 1, asked 1")
    assert crew.verdict([]).lost == 1


def test_an_ack_that_came_too_late_leaves_the_message_owed() -> None:
    crew = crew_of("accepted 1", "got 1, asked 1, late 1")
    assert crew.verdict(["b"]).lost == 1


def test_a_delivery_after_its_ack_returned_is_seen() -> None:
    crew = crew_of("accepted 1", "got 1, asked 1, acked 1", "got 1, asked 1, acked 1")
    assert crew.verdict([]) == Debts(1, 1, 0, 0, duplicates=1, after_ack=1)


def test_what_was_published_twice_may_be_delivered_after_its_ack() -> None:
    crew = crew_of("again 1, accepted 1", "got 1, asked 1, acked 1, got 1, asked 1, acked 1")
    assert crew.verdict([]) == Debts(1, 1, 0, 0, duplicates=1, after_ack=0)


ALL = {0: {0, 1, 2, 3, 4, 5}, 1: set()}


def heard(*arrivals: str, accepted: dict[int, set[int]] = ALL) -> News:
    """Return the verdict on arrivals `NUMBER GAP` of publisher 0, whose end is 6."""
    lines = ["0 overflow" if one == "overflow" else f"0 got 0 {one}" for one in arrivals]
    return Listener(accepted, {0: 6}).judge(lines)


def test_a_listener_that_heard_everything_missed_nothing() -> None:
    assert heard("0 -", "1 -", "2 -", "3 -", "4 -", "5 -", "6 -", "7 -") == News(received=6)


@pytest.mark.parametrize(
    ("arrivals", "unexplained"),
    [
        (("0 -", "3 -", "4 -", "5 -", "6 -"), 2),  # nobody told
        (("0 -", "3 1", "4 -", "5 -", "6 -"), 1),  # told too few
        (("0 -", "3 -", "4 2", "5 -", "6 -"), 2),  # told too late
        (("0 -", "1 2", "4 -", "5 -", "6 -"), 2),  # told too early
        (("0 -", "1 ?", "4 -", "5 -", "6 -"), 2),  # an unknown gap elsewhere is no excuse
        (("1 -", "2 -", "3 -", "4 -", "5 -", "6 -"), 1),  # the first message
        (("0 -", "1 -", "2 -", "3 -", "4 -", "6 -"), 1),  # the last one
        (("0 -", "3 2", "4 -", "5 -", "6 -"), 0),
        (("0 -", "3 ?", "4 -", "5 -", "6 -"), 0),
        (("0 -", "overflow", "4 -", "5 -", "6 -"), 0),
    ],
)
def test_a_miss_needs_a_gap_between_its_neighbours(
    arrivals: tuple[str, ...], unexplained: int
) -> None:
    assert heard(*arrivals).unexplained == unexplained


def test_a_gap_that_tells_more_than_was_missed_is_seen() -> None:
    assert heard("0 -", "3 3", "4 -", "5 -", "6 -").overtold == 1


def test_what_comes_after_the_end_may_be_told_or_not() -> None:
    assert heard("0 -", "1 -", "2 -", "3 -", "4 -", "5 -", "6 -", "9 2").overtold == 0
    assert heard("0 -", "1 -", "2 -", "3 -", "4 -", "5 -", "9 -") == News(received=6)


def test_a_message_whose_publish_failed_need_not_arrive_and_may_be_told() -> None:
    accepted = {0: {0, 1, 3, 4, 5}}
    silent = heard("0 -", "1 -", "3 -", "4 -", "5 -", "6 -", accepted=accepted)
    assert silent == News(received=5)
    assert heard("0 -", "1 -", "3 1", "4 -", "5 -", "6 -", accepted=accepted).overtold == 0


def test_a_message_that_comes_twice_or_out_of_order_is_seen() -> None:
    assert heard("0 -", "1 -", "1 -", "0 -").invented == 2
