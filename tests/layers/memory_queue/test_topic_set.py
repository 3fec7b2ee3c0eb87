"""The topics of a group, read together: when the clock frees something, and whose turn it is."""

from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from acked.layers.memory_queue._topic_set import NEVER, TopicSet

TOPICS = 3
MOMENTS = st.integers(1, 20).map(float)
STEP = st.one_of(
    st.tuples(st.just("note"), st.integers(0, TOPICS - 1), MOMENTS),
    st.tuples(st.just("settle"), st.integers(0, TOPICS - 1), MOMENTS),
    st.tuples(st.just("pass"), st.just(0), MOMENTS),
    st.tuples(st.just("look"), st.just(0), MOMENTS),
)


class Clocked:
    """What a group owes of one topic, as far as only its moments go."""

    has_overdue = False

    def __init__(self) -> None:
        self.ready = 0
        self.moments: set[float] = set()
        self.overdue_holders: Iterator[object] = iter(())

    def next_moment(self) -> float:
        return min(self.moments, default=NEVER)


LEFT_BEHIND = [
    *(("note", 0, 12.0), ("note", 0, 5.0), ("settle", 0, 12.0), ("settle", 0, 5.0)),
    *(("note", 1, 15.0), ("look", 0, 0.0)),
]


@given(st.lists(STEP, max_size=30))
@example(LEFT_BEHIND)
def test_the_next_moment_is_the_earliest_whatever_was_noted_before(steps) -> None:
    """Leases that were settled or extended leave moments behind that mean nothing any more."""
    queues = [Clocked() for _ in range(TOPICS)]
    topics = TopicSet(queues)
    for what, number, moment in steps:
        if what == "note":
            queues[number].moments.add(moment)
            topics.note_moment(queues[number], moment)
        elif what == "settle":
            queues[number].moments.discard(moment)
        elif what == "pass":
            for queue in topics.due(moment):
                queue.moments = {one for one in queue.moments if one > moment}
            assert all(one > moment for queue in queues for one in queue.moments)
        else:
            assert topics.next_moment() == min(queue.next_moment() for queue in queues)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_everybody_has_a_turn_before_anybody_has_two_more_than_another(limits) -> None:
    queues = [Clocked() for _ in range(TOPICS)]
    for queue in queues:
        queue.ready = 1
    topics, turns = TopicSet(queues), dict.fromkeys(queues, 0)
    for most in limits:
        for queue in topics.ready(most):
            turns[queue] += 1
        assert max(turns.values()) - min(turns.values()) <= 1
