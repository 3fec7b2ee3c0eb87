"""One partition: what is confirmed is kept for whoever has it next, and nothing else is."""

import time
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from acked.layers.kafka._commit_metadata import read_metadata
from acked.layers.kafka._partition import Partition, Position
from acked.layers.kafka._protocols import TopicPartition

PLACE = TopicPartition("t", 0)
logs = st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(sorted)
rooms = st.sampled_from([0, 6, 12, 60, 3066])
answers = st.sampled_from(["yes", "refused", "lost", "taken, the answer lost"])


def at(offset: int = 0) -> Partition:
    return Partition(PLACE, Position(offset, ""), 1)


@settings(deadline=None)
@given(st.data(), logs, rooms)
def test_what_is_confirmed_never_comes_again_and_what_is_owed_does(data, log, room) -> None:
    """Whatever the broker says to each commit, however little it keeps, whoever has it next."""
    waiting, one, kept_there = deque(log), at(), Position(0, "")
    held, asked, confirmed, refused, unclear = (set[int]() for _ in range(5))
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.sampled_from([False, False, True])):
            one, held = Partition(PLACE, kept_there, 1), set()
            waiting = deque(offset for offset in log if offset >= kept_there.offset)
        count = data.draw(st.integers(0, 10))
        if arriving := [waiting.popleft() for _ in range(min(len(waiting), count))]:
            came = set(one.arrived(arriving))
            assert came - unclear == set(arriving) - confirmed - unclear
            held |= came
        chosen = [offset for offset in sorted(held) if data.draw(st.booleans())]
        if not chosen:
            continue
        one.settle(chosen)
        asked.update(chosen)
        refused.difference_update(chosen)
        version, commit, answer = one.version, one.commit(room), data.draw(answers)
        if answer in {"yes", "taken, the answer lost"}:
            kept_there = commit.position
        if answer == "yes":
            one.confirm(commit)
        not_kept = one.not_kept(chosen, version)
        done = {offset for offset in chosen if offset not in not_kept}
        assert not done or answer == "yes"
        confirmed |= done
        held -= done
        if answer in {"yes", "refused"}:  # said yes to, it had no room
            one.refuse(set(chosen) - done)
            refused |= set(chosen) - done
        else:
            unclear.update(chosen)
        assert one.is_at(kept_there)
        there = read_metadata(*kept_there)
        for offset in filter(one.is_settled, held):
            assert offset < kept_there.offset or there.covers(offset)
    other = Partition(PLACE, kept_there, 2)
    left = [offset for offset in log if offset >= kept_there.offset]
    owed = set(other.arrived(left)) if left else set()
    assert not owed & confirmed
    assert owed >= set(log) - asked
    assert owed >= refused - unclear


@settings(deadline=None)
@given(st.data(), logs, st.sampled_from([12, 60, 200]))
def test_of_what_there_was_spare_room_for_every_settlement_is_kept(data, log, room) -> None:
    waiting, one = deque(log), at()
    for _ in range(data.draw(st.integers(1, 12))):
        count = min(len(waiting), one.spare(room))
        if arriving := [waiting.popleft() for _ in range(count)]:
            one.arrived(arriving)
        held = one.window.unsettled_to(400)
        chosen = [offset for offset in held if data.draw(st.booleans())]
        if chosen:
            one.settle(chosen)
            version = one.version
            one.confirm(one.commit(room))
            assert not one.not_kept(chosen, version)


def test_where_nothing_was_settled_nothing_is_to_be_committed() -> None:
    one = at(7)
    assert one.durable == one.version
    assert (one.next_offset, one.oldest) == (7, None)
    one.arrived([7, 9])
    assert one.durable == one.version
    assert (one.next_offset, one.oldest) == (10, 7)


def test_the_end_of_a_log_is_reached_over_marks_once_all_before_is_settled() -> None:
    one = at()
    one.arrived([0, 1])
    assert not one.read_to(2), "nothing new"
    assert not one.read_to(5), "two are owed"
    one.settle([0, 1])
    assert one.commit(3066).position == Position(5, "")
    assert one.read_to(6)
    assert one.commit(3066).position == Position(6, "")


def test_what_is_refused_holds_the_offset_back_until_it_is_settled() -> None:
    one = at()
    one.arrived([0, 1])
    one.settle([0])
    one.refuse([0])
    assert not one.read_to(3)
    one.settle([1])
    assert one.commit(0).position == Position(0, "")
    one.settle([0])
    assert one.commit(0).position == Position(3, "")


def test_after_a_refused_commit_the_next_one_begins_before_it() -> None:
    """It went past what was refused, or failed over its own numbers."""
    one = at()
    one.arrived([0, 1, 2])
    one.settle([0])
    assert one.commit(3066).position.offset == 1
    one.refuse([0])
    one.settle([1])
    position = one.commit(3066).position
    assert position.offset == 0
    assert Partition(PLACE, position, 2).arrived([0, 1, 2]) == [0, 2]


def test_a_commit_costs_no_more_where_much_is_unsettled_behind_it() -> None:
    """Issue 16: it sorted all that was delivered, each time; 30 s of the processor's here."""
    one, began = at(), time.process_time()
    one.arrived(range(100_000))
    for offset in range(1000):
        assert one.spare(3066) == 0
        one.settle([offset])
        commit = one.commit(3066)
        assert commit.position.offset == offset + 1
        one.confirm(commit)
    assert time.process_time() - began < 3
