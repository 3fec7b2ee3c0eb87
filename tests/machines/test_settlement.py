"""The settlement table: total, first one wins, an illegal step changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked._machines.settlement import AFTER, BEGIN, State, Step, after, begin
from acked.errors import AlreadySettled, LeaseLost
from acked.types import Outcome, Verb

ON_ITS_WAY = {
    Verb.ACK: State.ACKING,
    Verb.NACK: State.NACKING,
    Verb.REJECT: State.REJECTING,
}
SETTLED = {Verb.ACK: State.ACKED, Verb.NACK: State.NACKED, Verb.REJECT: State.REJECTED}


@pytest.mark.parametrize("verb", Verb)
def test_a_held_delivery_can_be_settled_in_each_way(verb: Verb) -> None:
    assert begin(State.HELD, verb) == (ON_ITS_WAY[verb], Step.SEND)


@pytest.mark.parametrize("first", Verb)
@pytest.mark.parametrize("second", Verb)
@pytest.mark.parametrize("confirmed", [False, True])
def test_the_first_settlement_wins(first: Verb, second: Verb, confirmed: bool) -> None:
    state = SETTLED[first] if confirmed else ON_ITS_WAY[first]
    if first is second:
        assert begin(state, second) == (state, Step.NOTHING if confirmed else Step.JOIN)
    else:
        with pytest.raises(AlreadySettled, match=f"cannot {second.name.lower()}"):
            begin(state, second)


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", [State.LOST, State.RETURNING])
def test_what_is_not_ours_any_more_can_not_be_settled(state: State, verb: Verb) -> None:
    with pytest.raises(LeaseLost):
        begin(state, verb)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_was_taken_back_is_lost_whatever_comes_of_it(outcome: Outcome) -> None:
    assert after(State.RETURNING, outcome) is State.LOST


@pytest.mark.parametrize("verb", Verb)
def test_an_unanswered_settlement_leaves_the_delivery_held(verb: Verb) -> None:
    assert after(ON_ITS_WAY[verb], Outcome.UNKNOWN) is State.HELD


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("outcome", Outcome)
def test_an_answer_moves_only_what_awaits_one(state: State, outcome: Outcome) -> None:
    if state in (*ON_ITS_WAY.values(), State.RETURNING):
        assert after(state, outcome) is not state
    else:
        assert after(state, outcome) is state


def test_the_table_leads_only_to_states_and_every_state_is_reachable() -> None:
    reached = {state for table in BEGIN.values() for state, _ in table.values()}
    reached |= {state for table in AFTER.values() for state in table.values()}
    assert reached == set(State) - {State.RETURNING}  # which the engine enters by itself


@given(st.lists(st.one_of(st.sampled_from(Verb), st.sampled_from(Outcome)), max_size=12))
def test_at_most_one_settlement_is_ever_confirmed(events: list[Verb | Outcome]) -> None:
    state, sent, confirmed = State.HELD, 0, []
    for event in events:
        if isinstance(event, Verb):
            try:
                state, step = begin(state, event)
            except (AlreadySettled, LeaseLost):
                continue
            sent += step is Step.SEND
        else:
            before, state = state, after(state, event)
            if state is not before and state in SETTLED.values():
                confirmed.append(state)
    assert len(confirmed) <= 1
    assert sent >= len(confirmed)
