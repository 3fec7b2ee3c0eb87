"""What waits to be handed out: returned ones first, as the log has them; nothing of what goes."""

from hypothesis import given
from hypothesis import strategies as st

from acked.layers.kafka._backlog import Backlog
from acked.layers.kafka._partition import DeliveryToken, Partition, Position
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._records import LeasedHere
from acked.types import Record

RECORD = Record("t", b"", "id")


def partitions(count: int) -> list[Partition]:
    return [Partition(TopicPartition("t", n), Position(0, ""), 1) for n in range(count)]


def leased(partition: Partition, *offsets: int) -> list[LeasedHere]:
    return [LeasedHere(RECORD, DeliveryToken(partition, offset)) for offset in offsets]


def places(some) -> list[tuple[int, int]]:
    return [(one.token.partition.place.partition, one.token.offset) for one in some]


def test_what_was_given_back_comes_first_and_in_the_order_of_the_log() -> None:
    (one,), backlog = partitions(1), Backlog()
    backlog.extend(leased(one, 0, 1, 2, 3))
    taken = backlog.take(3)
    assert (places(taken), backlog.unseen, len(backlog)) == ([(0, 0), (0, 1), (0, 2)], 1, 1)
    backlog.changed.clear()
    for back in (taken[2], taken[0]):
        backlog.put_back(back)
    assert backlog.changed.is_set()
    assert (backlog.unseen, len(backlog)) == (1, 3)
    assert places(backlog.peek(2)) == [(0, 0), (0, 2)]
    assert places(backlog.take(9)) == [(0, 0), (0, 2), (0, 3)]
    assert not len(backlog)


def test_of_a_partition_that_goes_nothing_is_handed_out_until_it_stays_after_all() -> None:
    (goes, stays), backlog = partitions(2), Backlog()
    backlog.extend([*leased(goes, 0, 1, 2), *leased(stays, 0, 1)])
    in_hand, *_ = backlog.take(1)
    goes.is_leaving = True
    backlog.withhold(goes)
    backlog.put_back(in_hand)
    assert places(backlog.peek(9)) == [(1, 0), (1, 1)]
    goes.is_leaving = False
    backlog.hand_out_again(goes)
    assert places(backlog.take(9)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    backlog.hand_out_again(goes)
    assert not len(backlog), "once"


def test_what_is_lost_is_forgotten_wherever_it_waits() -> None:
    (goes, stays), backlog = partitions(2), Backlog()
    backlog.extend([*leased(goes, 0, 1, 2), *leased(stays, 0, 1)])
    for back in backlog.take(1):
        backlog.put_back(back)
    backlog.withhold(goes)
    backlog.extend(leased(goes, 3))
    backlog.drop(goes)
    backlog.hand_out_again(goes)
    assert places(backlog.take(9)) == [(1, 0), (1, 1)]


@given(st.data(), st.integers(1, 3))
def test_everything_comes_once_for_each_time_it_was_put_in(data, count) -> None:
    all_of, backlog, ends = partitions(count), Backlog(), [0] * count
    in_hand: list[LeasedHere] = []
    expected: set[tuple[int, int]] = set()
    for step in data.draw(
        st.lists(st.sampled_from(["fetch", "take", "back", "drop"]), max_size=30)
    ):
        number = data.draw(st.integers(0, count - 1))
        if step == "fetch":
            new = leased(all_of[number], *range(ends[number], ends[number] + 3))
            ends[number] += 3
            backlog.extend(new)
            expected.update(places(new))
        elif step == "take":
            taken = backlog.take(2)
            in_hand += taken
            expected.difference_update(places(taken))
        elif step == "back" and in_hand:
            back = in_hand.pop()
            backlog.put_back(back)
            expected.update(places([back]))
        elif step == "drop":
            backlog.drop(all_of[number])
            expected = {place for place in expected if place[0] != number}
    assert len(backlog) == len(expected)
    assert sorted(places(backlog.take(len(backlog)))) == sorted(expected)
