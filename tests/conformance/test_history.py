"""The offline check of histories is checked: one bad history for each rule, and the good beside it."""

import msgspec
import pytest

from acked._core.ack import fetcher
from acked.conformance import VirtualHarness
from acked.conformance._workload import Workload
from acked.conformance.history import UNSEEN, History, HistoryEvent, violations
from acked.layers.memory_queue import CAPABILITIES, MemoryQueueLayer
from acked.types import Capabilities, Verb

ACK, NACK = Verb.ACK, Verb.NACK


class Record:
    """Writes histories with few words, in one group; everything takes `pace` seconds."""

    def __init__(self, pace: float = 1.0) -> None:
        self.history: list[HistoryEvent] = []
        self.pace = pace

    def note(self, kind, **fields) -> "Record":
        fields.setdefault("group", "" if kind in {"publish", "accepted"} else "g")
        self.history.append(HistoryEvent(kind=kind, at=self.pace * len(self.history), **fields))
        return self

    def published(self, *messages: str, key: str = "k") -> "Record":
        for message in messages:
            self.note("publish", message=message, key=key).note("accepted", message=message)
        return self

    def delivered(self, message: str, consumer: str = "c1", attempt: int = 1, **more) -> "Record":
        return self.note("deliver", message=message, consumer=consumer, attempt=attempt, **more)

    def settled(
        self, message: str, consumer: str = "c1", verb: Verb = ACK, delay: float = 0.0
    ) -> "Record":
        where = {"message": message, "consumer": consumer, "verb": verb, "delay": delay}
        return self.note("settle", **where).note("confirmed", **where)

    def left(self, consumer: str, kind="leave") -> "Record":
        return self.note(kind, consumer=consumer)


def rules(record: Record, capabilities: Capabilities = CAPABILITIES) -> list[str]:
    return [one.rule for one in violations(record.history, capabilities, groups=["g"])]


def test_a_plain_history_is_explained() -> None:
    record = Record().published("m", "n").delivered("m").settled("m").delivered("n").settled("n")
    assert rules(record) == []


def test_what_was_never_published_is_an_invention() -> None:
    assert rules(Record().delivered("m").settled("m")) == ["invention"]


def test_what_was_delivered_before_it_was_published_is_an_invention() -> None:
    assert "invention" in rules(Record().delivered("m").settled("m").published("m"))


def test_what_was_accepted_and_never_settled_is_lost() -> None:
    assert rules(Record().published("m")) == ["loss"]
    assert rules(Record().published("m").delivered("m").settled("m", verb=NACK)) == ["loss"]


def test_what_was_not_accepted_is_not_lost() -> None:
    assert rules(Record().note("publish", message="m")) == []


def test_a_settlement_without_an_answer_is_no_loss() -> None:
    record = Record().published("m").delivered("m")
    assert rules(record.note("settle", message="m", consumer="c1", verb=ACK)) == []


def test_what_was_acked_does_not_come_again() -> None:
    record = Record().published("m").delivered("m").settled("m").left("c1")
    assert rules(record.delivered("m", "c2", 2)) == ["redelivery"]


def test_where_acks_are_not_confirmed_it_may() -> None:
    unconfirmed = msgspec.structs.replace(CAPABILITIES, confirmed_ack=False)
    record = Record().published("m").delivered("m").settled("m").left("c1")
    assert rules(record.delivered("m", "c2", 2), unconfirmed) == []


def test_what_one_holds_does_not_come_to_another() -> None:
    record = Record().published("m").delivered("m").delivered("m", "c2", 2)
    assert rules(record.settled("m", "c2")) == ["two holders"]


@pytest.mark.parametrize("kind", ["leave", "release"])
def test_what_a_holder_left_comes_to_another(kind) -> None:
    record = Record().published("m").delivered("m").left("c1", kind)
    assert rules(record.delivered("m", "c2", 2).settled("m", "c2")) == []


def test_what_a_silent_holder_had_comes_when_its_lease_is_over_and_not_before() -> None:
    early = Record().published("m").delivered("m", until=4.0).delivered("m", "c2", 2)
    assert rules(early.settled("m", "c2")) == ["two holders"]
    late = Record().published("m").delivered("m", until=3.0).delivered("m", "c2", 2)
    assert rules(late.settled("m", "c2")) == []


def test_a_settlement_that_began_before_a_delivery_was_for_the_one_before_it() -> None:
    record = (
        Record().published("m").delivered("m").settled("m", verb=NACK).delivered("m", attempt=2)
    )
    assert rules(record.delivered("m", "c2", 3).settled("m", "c2")) == ["two holders"]


def test_a_late_settlement_is_not_confirmed() -> None:
    record = Record().published("m").delivered("m", until=3.0).delivered("m", "c2", 2)
    assert rules(record.settled("m", "c1").left("c2")) == ["stale settlement"]


def test_an_answer_needs_a_question() -> None:
    record = Record().published("m").delivered("m")
    record.note("confirmed", message="m", consumer="c1")
    assert "stale settlement" in rules(record)


def test_one_consumer_receives_in_the_order_of_publishing() -> None:
    record = Record(0.1).published("m", "n").delivered("n").delivered("m").settled("n")
    assert rules(record.settled("m")) == ["order"]


def test_unless_somebody_left_whose_buffer_came_later() -> None:
    record = Record(0.1).published("m", "n").delivered("n").left("c2").delivered("m")
    assert rules(record.settled("n").settled("m")) == []


def test_or_somebody_was_busy_for_long_enough_to_give_back_what_it_had_not_read() -> None:
    """`m` is in the buffer of `c2`, which handles `l`; given back, it comes after `n`."""
    assert UNSEEN == fetcher.UNSEEN
    for pace, found in ((0.2, []), (0.1, ["order"])):
        record = Record(pace).published("l").delivered("l", "c2").published("m", "n")
        record.delivered("n").settled("n").delivered("m").settled("m").settled("l", "c2")
        assert rules(record) == found


def test_what_comes_again_may_come_late() -> None:
    record = Record().published("m", "n").delivered("m").settled("m", verb=NACK).delivered("n")
    assert rules(record.delivered("m", attempt=2).settled("n").settled("m")) == []


def test_where_order_is_kept_by_key_other_keys_have_none() -> None:
    keyed = msgspec.structs.replace(CAPABILITIES, order="key")
    record = Record(0.1).published("m", key="red").published("n", key="blue")
    record.delivered("n").delivered("m").settled("n").settled("m")
    assert rules(record, keyed) == []
    assert rules(record) == ["order"]
    same = Record(0.1).published("m", "n", key="red").delivered("n").delivered("m")
    assert rules(same.settled("n").settled("m"), keyed) == ["order"]


def test_concurrent_publishing_has_no_order() -> None:
    record = Record().note("publish", message="m").note("publish", message="n")
    record.note("accepted", message="m").note("accepted", message="n")
    assert rules(record.delivered("n").delivered("m").settled("n").settled("m")) == []


@pytest.mark.parametrize("attempt", [0, 2])
def test_the_first_attempt_is_1(attempt: int) -> None:
    assert rules(Record().published("m").delivered("m", attempt=attempt).settled("m")) == [
        "attempts"
    ]


@pytest.mark.parametrize(("attempt", "found"), [(1, ["attempts"]), (2, []), (3, ["attempts"])])
def test_a_nack_counts_once(attempt: int, found: list[str]) -> None:
    record = Record().published("m").delivered("m").settled("m", verb=NACK)
    assert rules(record.delivered("m", attempt=attempt).settled("m")) == found


def test_a_release_does_not_count() -> None:
    record = Record().published("m").delivered("m").left("c1", "release")
    assert rules(record.delivered("m", "c2", 1).settled("m", "c2")) == []
    left = Record().published("m").delivered("m").left("c1")
    assert rules(left.delivered("m", "c2", 1).settled("m", "c2")) == ["attempts"]


def test_a_delay_is_kept() -> None:
    record = Record().published("m").delivered("m").settled("m", verb=NACK, delay=2.0)
    assert rules(record.delivered("m", attempt=2).settled("m")) == []
    hasty = Record().published("m").delivered("m").settled("m", verb=NACK, delay=2.5)
    assert rules(hasty.delivered("m", attempt=2).settled("m")) == ["delay"]


def recorded(history: History, *kinds: str) -> int:
    return sum(event.kind in kinds for event in history)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(5))
async def test_a_concurrent_workload_does_everything_and_is_explained(seed: int) -> None:
    harness = VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))
    history = await Workload(harness, seed, messages=60, consumers=3).run()
    assert violations(history, CAPABILITIES, groups=["a", "b"]) == []
    assert recorded(history, "accepted") == 61
    assert recorded(history, "release") > 0
    assert recorded(history, "leave") > 0
    assert recorded(history, "deliver") > 122
