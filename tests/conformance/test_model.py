"""The reference model by itself: what it allows, and what it does not."""

import msgspec
import pytest

from acked.conformance.model import NEVER, Answer, Illegal, Model
from acked.layers.memory_queue import CAPABILITIES
from acked.types import Capabilities, Verb

ACK, NACK, REJECT = Verb.ACK, Verb.NACK, Verb.REJECT


def model(*messages: str, capabilities: Capabilities = CAPABILITIES, **options) -> Model:
    one = Model(["g", "h"], capabilities, **options)
    for message in messages:
        one.published(message)
    return one


def test_what_is_published_is_owed_to_every_group_once() -> None:
    one = model("m")
    assert one.due("g", 0) == one.due("h", 0) == {"m"}
    one.delivered("g", "m", 1, "c", 0)
    assert (one.due("g", 0), one.due("h", 0)) == (set(), {"m"})
    with pytest.raises(Illegal, match="held by c"):
        one.delivered("g", "m", 2, "d", 0)


def test_nothing_is_invented() -> None:
    with pytest.raises(Illegal, match="never published"):
        model().delivered("g", "m", 1, "c", 0)


def test_an_uncertain_publish_may_come_and_need_not_and_one_sight_is_enough() -> None:
    one = model()
    one.published("m", certain=False)
    assert one.due("g", 0) == set()
    one.delivered("h", "m", 1, "c", 0)
    assert one.due("g", 0) == {"m"}


@pytest.mark.parametrize("verb", [ACK, REJECT])
def test_what_was_settled_never_comes_again(verb: Verb) -> None:
    one = model("m")
    lease = one.delivered("g", "m", 1, "c", 0)
    one.settled("g", "m", lease, verb, Answer.DONE, 0)
    one.left("c", charge=True)
    with pytest.raises(Illegal, match="is settled"):
        one.delivered("g", "m", 2, "d", 0)


def test_a_settlement_without_an_answer_leaves_both_open_until_something_is_seen() -> None:
    one = model("m")
    lease = one.delivered("g", "m", 1, "c", 0)
    one.settled("g", "m", lease, ACK, Answer.UNKNOWN, 0)
    one.left("c", charge=True)
    assert one.due("g", 0) == set()
    one.delivered("g", "m", 2, "d", 0)
    one.left("d", charge=True)
    assert one.due("g", 0) == {"m"}


def test_a_nack_comes_after_its_delay_and_counts() -> None:
    one = model("m")
    lease = one.delivered("g", "m", 1, "c", 0)
    one.settled("g", "m", lease, NACK, Answer.DONE, 0, free_at=5)
    assert (one.due("g", 4.9), one.due("g", 5), one.quiet_at()) == (set(), {"m"}, 5)
    with pytest.raises(Illegal):
        one.delivered("g", "m", 2, "c", 4.9)
    with pytest.raises(Illegal):
        one.delivered("g", "m", 1, "c", 5)
    one.delivered("g", "m", 2, "c", 5)


def test_where_leases_are_connections_a_delay_goes_with_its_consumer() -> None:
    local = msgspec.structs.replace(CAPABILITIES, lease="connection")
    one = model("m", capabilities=local)
    lease = one.delivered("g", "m", 1, "c", 0)
    one.settled("g", "m", lease, NACK, Answer.DONE, 0, free_at=5)
    one.left("c", charge=True)
    one.delivered("g", "m", 2, "d", 1)


@pytest.mark.parametrize(("charge", "attempt"), [(True, 2), (False, 1)])
def test_leaving_gives_back_what_was_held(charge: bool, attempt: int) -> None:
    one = model("m")
    one.delivered("g", "m", 1, "c", 0)
    one.left("other", charge=charge)
    assert one.due("g", 0) == set()
    one.left("c", charge=charge)
    with pytest.raises(Illegal, match="attempt"):
        one.delivered("g", "m", 3 - attempt, "d", 0)
    one.delivered("g", "m", attempt, "d", 0)


def test_a_lease_that_is_over_may_be_settled_until_somebody_else_has_it() -> None:
    one = model("m", "n")
    late, stale = (one.delivered("g", m, 1, "silent", 0, until=10) for m in "mn")
    with pytest.raises(Illegal, match="LOST"):
        one.settled("g", "m", late, ACK, Answer.LOST, 9)
    assert one.due("g", 10) == {"m", "n"}
    one.settled("g", "m", late, ACK, Answer.DONE, 11)
    one.delivered("g", "n", 2, "c", 11)
    with pytest.raises(Illegal, match="DONE"):
        one.settled("g", "n", stale, ACK, Answer.DONE, 12)
    one.settled("g", "n", stale, ACK, Answer.LOST, 12)
    assert one.describe("g", "n").startswith("held by c")


def test_an_extended_lease_is_its_holders() -> None:
    one = model("m")
    lease = one.delivered("g", "m", 1, "silent", 0, until=10)
    one.extended("g", "m", lease, NEVER)
    assert one.due("g", 1000) == set()
    with pytest.raises(Illegal, match="extended"):
        one.extended("g", "m", lease + 1, NEVER)


def test_a_rejection_makes_a_dead_letter_if_there_is_a_topic_for_it() -> None:
    one = model("m", "n", "o")
    for message, dead_lettered, answer in (
        ("m", True, Answer.DONE),
        ("n", False, Answer.DONE),
        ("o", True, Answer.UNKNOWN),
    ):
        lease = one.delivered("g", message, 1, "c", 0)
        one.settled("g", message, lease, REJECT, answer, 0, dead_lettered=dead_lettered)
    assert one.dead("g") == {"m": True, "o": False}


def test_among_faults_a_stale_delivery_is_seen_but_never_settled() -> None:
    one = model("m", fragile=True)
    first = one.delivered("g", "m", 1, "c", 0)
    second = one.delivered("g", "m", 2, "d", 0)
    one.settled("g", "m", second, ACK, Answer.DONE, 0)
    with pytest.raises(Illegal):
        one.settled("g", "m", first, ACK, Answer.DONE, 0)
    third = one.delivered("g", "m", 1, "e", 0)  # from a buffer that does not know yet
    with pytest.raises(Illegal):
        one.settled("g", "m", third, ACK, Answer.DONE, 0)
    one.settled("g", "m", third, ACK, Answer.LOST, 0)


def test_unconfirmed_acks_may_be_undone_by_a_broken_connection() -> None:
    one = model("m", capabilities=msgspec.structs.replace(CAPABILITIES, confirmed_ack=False))
    lease = one.delivered("g", "m", 1, "c", 0)
    one.settled("g", "m", lease, ACK, Answer.DONE, 0)
    with pytest.raises(Illegal):
        one.delivered("g", "m", 2, "c", 0)
    one.disturbed(ends_leases=True)
    one.delivered("g", "m", 2, "c", 0)
