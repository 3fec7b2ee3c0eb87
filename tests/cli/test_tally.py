"""How ledgers become numbers."""

import pytest

from acked.demo.ledger import Entry, Stage
from acked.demo.tally import Report, Tally

FIRST, SECOND = 0, 1


class Story:
    """Ledgers of two workers as a test tells them; time passes by one second a line."""

    def __init__(self, accepted: int) -> None:
        self.tally = Tally(accepted)
        self.tally.accepted = accepted
        self.now = 0

    def begins(self, worker: int, number: int, attempt: int = 1) -> "Story":
        return self._note(worker, Stage.BEGAN, number, attempt)

    def asks(self, worker: int, number: int, attempt: int = 1) -> "Story":
        return self._note(worker, Stage.ASKED, number, attempt)

    def acked(self, worker: int, number: int, attempt: int = 1) -> "Story":
        return self._note(worker, Stage.ACKED, number, attempt)

    def late(self, worker: int, number: int, attempt: int = 1) -> "Story":
        return self._note(worker, Stage.TOO_LATE, number, attempt)

    def handles(self, worker: int, number: int, attempt: int = 1) -> "Story":
        return (
            self.begins(worker, number, attempt)
            .asks(worker, number, attempt)
            .acked(worker, number, attempt)
        )

    def kills(self, worker: int) -> "Story":
        self.now += 1
        self.tally.note_kill(worker, self.now * 10**9)
        return self

    def report(self, owed: frozenset[int] = frozenset(), dead: tuple[int, ...] = ()) -> Report:
        return self.tally.report(owed, dead)

    def _note(self, worker: int, step: Stage, number: int, attempt: int) -> "Story":
        self.now += 1
        self.tally.note(worker, Entry(step, number, attempt, self.now * 10**9))
        return self


def test_orders_handled_once_are_acked_and_nothing_else() -> None:
    report = Story(2).handles(FIRST, 1).handles(SECOND, 2).report()
    assert report == Report(
        accepted=2,
        acked=2,
        redelivered=0,
        duplicates=0,
        lost=0,
        recovery_seconds=None,
        dead_letters=0,
        innocent_dead_letters=0,
    )


def test_an_accepted_order_that_nobody_got_is_lost() -> None:
    report = Story(2).handles(FIRST, 1).report()
    assert (report.acked, report.lost) == (1, 1)


def test_what_the_killed_worker_held_is_recovered_by_another() -> None:
    story = Story(2).begins(FIRST, 1).begins(FIRST, 2).kills(FIRST)
    report = story.handles(SECOND, 1, attempt=2).handles(SECOND, 2, attempt=2).report()
    assert (report.acked, report.lost) == (2, 0)
    assert (report.redelivered, report.duplicates) == (2, 2)
    # Killed at 3 s; the second order was begun again at 7 s.
    assert report.recovery_seconds == 4.0


def test_what_the_killed_worker_had_not_begun_is_no_recovery() -> None:
    """It may as well come again from a worker that the poison order killed."""
    story = Story(2).begins(FIRST, 1).kills(FIRST).handles(SECOND, 1, attempt=2)
    story.handles(SECOND, 2, attempt=2)
    assert story.tally.recovered == 1
    assert story.report().recovery_seconds == 1.0


def test_the_poison_among_the_dead_letters_is_no_innocent() -> None:
    report = Story(2).handles(FIRST, 1).handles(SECOND, 2).report(dead=(3,))
    assert (report.dead_letters, report.innocent_dead_letters, report.lost) == (1, 0, 0)


def test_an_order_among_the_dead_letters_is_innocent_and_not_lost() -> None:
    report = Story(2).handles(FIRST, 1).begins(SECOND, 2).report(dead=(2, 3))
    assert (report.dead_letters, report.innocent_dead_letters) == (2, 1)
    assert (report.acked, report.lost) == (1, 0)


def test_an_ack_whose_yes_the_killed_worker_did_not_note_is_an_ack() -> None:
    report = Story(1).begins(FIRST, 1).asks(FIRST, 1).kills(FIRST).report()
    assert (report.acked, report.lost, report.recovery_seconds) == (1, 0, None)


def test_a_begun_order_that_was_not_acked_and_never_comes_again_is_lost() -> None:
    report = Story(1).begins(FIRST, 1).kills(FIRST).report()
    assert (report.acked, report.lost) == (0, 1)


def test_an_asked_ack_counts_once_when_the_order_comes_again() -> None:
    story = Story(1).begins(FIRST, 1).asks(FIRST, 1).kills(FIRST).handles(SECOND, 1, attempt=2)
    assert (story.report().acked, story.report().lost) == (1, 0)
    assert story.tally.unheard == set()


def test_an_asked_ack_counts_once_when_another_had_the_order_before_the_kill() -> None:
    story = Story(1).begins(FIRST, 1).handles(SECOND, 1, attempt=2).asks(FIRST, 1).kills(FIRST)
    assert (story.report().acked, story.report().lost) == (1, 0)


def test_an_ack_that_came_too_late_is_no_ack() -> None:
    story = Story(1).begins(FIRST, 1).asks(FIRST, 1).late(FIRST, 1)
    assert story.tally.in_work(FIRST) == 0
    assert (story.report().acked, story.report().lost) == (0, 1)
    assert story.handles(SECOND, 1, attempt=2).report().acked == 1


def test_a_worker_may_get_its_own_order_again_while_it_still_has_it() -> None:
    story = Story(1).begins(FIRST, 1).begins(FIRST, 1, attempt=2).asks(FIRST, 1).late(FIRST, 1)
    report = story.asks(FIRST, 1, attempt=2).acked(FIRST, 1, attempt=2).report()
    assert (report.acked, report.duplicates) == (1, 1)


def test_an_unconfirmed_ack_of_a_living_worker_is_an_ack_if_the_order_is_not_owed() -> None:
    story = Story(1).begins(FIRST, 1).asks(FIRST, 1)
    assert story.report().acked == 1
    assert story.report(frozenset({1})).acked == 0


def test_an_order_that_is_owed_in_the_end_is_neither_acked_nor_lost() -> None:
    report = Story(1).begins(FIRST, 1).asks(FIRST, 1).kills(FIRST).report(frozenset({1}))
    assert (report.acked, report.lost) == (0, 0)


def test_an_acked_order_that_is_owed_is_a_broken_promise() -> None:
    story = Story(1).handles(FIRST, 1)
    assert story.report(frozenset({1})).acked == 0
    assert story.tally.broken_promises == 1


@pytest.mark.parametrize("is_read_first", [True, False])
def test_an_order_that_begins_after_its_ack_is_a_broken_promise(is_read_first: bool) -> None:
    tally = Tally(1)
    acked = [(FIRST, Entry(Stage.BEGAN, 1, 1, 10)), (FIRST, Entry(Stage.ACKED, 1, 1, 20))]
    again = [(SECOND, Entry(Stage.BEGAN, 1, 2, 30))]
    for worker, entry in again + acked if is_read_first else acked + again:
        tally.note(worker, entry)
    assert tally.broken_promises == 1


def test_last_lines_of_the_killed_worker_are_no_recovery() -> None:
    story = Story(2).kills(FIRST).begins(FIRST, 1, attempt=2)
    assert story.report().recovery_seconds is None
