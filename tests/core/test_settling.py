"""Acks are confirmed, coalesced, settled once; what fails says so."""

import gc
import warnings
from pathlib import Path

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from acked import (
    AckUnconfirmed,
    AlreadySettled,
    Batch,
    Channel,
    ConnectionLost,
    LayerError,
    LeaseLost,
    Redelivery,
    UnsettledWarning,
    VirtualClock,
)
from acked._core.ack.settler import LETTER_BYTES
from acked.errors import CapabilityError
from acked.types import Leased, Outcome, Record, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, leased, without

pytestmark = pytest.mark.anyio


async def test_ack_returns_only_after_the_layer_has_said_yes() -> None:
    layer = ScriptedLayer(leased(1))
    layer.answering = anyio.Event()
    returned = anyio.Event()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)

        async def ack() -> None:
            await delivery.ack()
            returned.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ack)
            await wait_all_tasks_blocked()
            assert layer.settled(Verb.ACK) == [1]
            assert not returned.is_set()
            layer.answering.set()
        assert returned.is_set()
        assert sub.statistics().acked == 1


async def test_what_is_asked_for_during_a_flush_goes_with_the_next_one() -> None:
    layer = ScriptedLayer(*map(leased, range(10)))
    layer.answering = anyio.Event()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        deliveries = [await anext(sub) for _ in range(10)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliveries[0].ack)
            await wait_all_tasks_blocked()
            for delivery in deliveries[1:]:
                tasks.start_soon(delivery.ack)
            await wait_all_tasks_blocked()
            layer.answering.set()
        assert [len(batch) for batch in layer.batches] == [1, 9]


async def test_the_same_again_is_a_no_op_and_waits_for_the_same_answer() -> None:
    layer = ScriptedLayer(leased(1))
    layer.answering = anyio.Event()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(delivery.ack)
            await wait_all_tasks_blocked()
            with pytest.raises(AlreadySettled):
                await delivery.nack()
            layer.answering.set()
        await delivery.ack()
        with pytest.raises(AlreadySettled):
            await delivery.reject()
    assert sum(map(len, layer.batches)) == 1


async def test_an_unanswered_ack_raises_and_leaves_the_delivery_held() -> None:
    layer = ScriptedLayer(leased(1))
    layer.outcome = Outcome.UNKNOWN
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(AckUnconfirmed, match="message 'id-1' of topic 't'"):
            await delivery.ack()
        assert sub.statistics().held == 1
        layer.outcome = Outcome.CONFIRMED
        await delivery.ack()
        assert sub.statistics().acked == 1


async def test_a_late_ack_raises_lease_lost_and_frees_the_window() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    layer.outcome = Outcome.LOST
    async with Channel(layer) as channel, channel.subscribe("t", group="g", in_flight=1) as sub:
        first = await anext(sub)
        with pytest.raises(LeaseLost):
            await first.ack()
        with pytest.raises(LeaseLost):
            await first.ack()
        layer.outcome = Outcome.CONFIRMED
        second = await anext(sub)
        await second.ack()
        statistics = sub.statistics()
        assert (statistics.lost, statistics.acked, statistics.held) == (1, 1, 0)


async def test_a_layer_that_raises_while_settling_leaves_the_acks_unconfirmed() -> None:
    layer = ScriptedLayer(leased(1))
    layer.outcome = ConnectionLost("gone")
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(AckUnconfirmed):
            await delivery.ack()
        with pytest.raises(LayerError, match="gone"):
            await anext(sub)


async def test_cancelling_an_ack_does_not_stop_it() -> None:
    layer = ScriptedLayer(leased(1))
    layer.answering = anyio.Event()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(delivery.ack)
                await wait_all_tasks_blocked()
                scope.cancel()
        layer.answering.set()
        await delivery.ack()
        assert sub.statistics().acked == 1
    assert layer.settled(Verb.ACK) == [1]


async def test_pipelined_acks_return_at_once_and_are_flushed_on_leaving() -> None:
    layer = ScriptedLayer(*map(leased, range(50)))
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g", confirm_acks=False) as sub:
            for _ in range(50):
                await (await anext(sub)).ack()
        assert sorted(layer.settled(Verb.ACK)) == list(range(50))
        assert sub.statistics().acked == 50


async def test_a_pipelined_failure_is_raised_by_the_next_read() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    layer.outcome = Outcome.LOST
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g", confirm_acks=False, in_flight=1) as sub:
            await (await anext(sub)).ack()
            with pytest.raises(LeaseLost):
                await anext(sub)
            layer.outcome = Outcome.CONFIRMED
            await (await anext(sub)).ack()


async def test_a_pipelined_failure_is_raised_on_leaving_at_the_latest() -> None:
    layer = ScriptedLayer(leased(1))
    layer.outcome = Outcome.UNKNOWN
    async with Channel(layer) as channel:
        with pytest.raises(AckUnconfirmed):
            async with channel.subscribe("t", group="g", confirm_acks=False) as sub:
                await (await anext(sub)).ack()


async def test_a_delivery_as_a_context_acks_nacks_or_is_left_alone() -> None:
    layer = ScriptedLayer(*map(leased, range(4)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        async with await anext(sub):
            pass
        with pytest.raises(ZeroDivisionError):
            async with await anext(sub):
                raise ZeroDivisionError
        untouched = await anext(sub)
        with anyio.CancelScope() as scope:
            async with untouched:
                scope.cancel()
                await checkpoint()
        async with await anext(sub) as by_hand:
            await by_hand.reject()
        assert layer.settled(Verb.ACK) == [0]
        assert layer.settled(Verb.NACK) == [1]
        assert layer.settled(Verb.REJECT) == [3]
        assert "held" in repr(untouched)


async def test_a_batch_is_settled_in_one_request() -> None:
    layer = ScriptedLayer(*map(leased, range(10)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batches = sub.batches(4)
        first = await anext(batches)
        await first.ack()
        second = await anext(batches)
        await second.nack()
        third = await anext(batches)
        await third.reject()
        assert [len(batch) for batch in layer.batches] == [4, 4, 2]
        assert [d.id for d in first[1:3]] == ["id-1", "id-2"]
        assert first[0] in first


async def test_a_partial_failure_of_a_batch_says_which() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batch = await anext(sub.batches(3))
        await batch[1].reject()
        with pytest.raises(ExceptionGroup, match="1 of 3") as caught:
            await batch.ack()
        assert [type(error) for error in caught.value.exceptions] == [AlreadySettled]
        assert sub.statistics().acked == 2


async def test_batches_that_share_a_request_fail_for_their_own_members_alone() -> None:
    layer = ScriptedLayer(*map(leased, range(5)))
    layer.answering = anyio.Event()
    lost = Outcome.LOST
    layer.replies = [[Outcome.CONFIRMED], [Outcome.CONFIRMED, Outcome.CONFIRMED, lost, lost]]
    failed: dict[str, int] = {}
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batches = [await anext(sub.batches(size)) for size in (1, 2, 2)]

        async def ack(batch: Batch[object]) -> None:
            try:
                await batch.ack()
            except ExceptionGroup as group:
                failed[batch[0].id] = len(group.exceptions)

        async with anyio.create_task_group() as tasks:
            for batch in batches:  # the first is on its way, the others wait for the next request
                tasks.start_soon(ack, batch)
                await wait_all_tasks_blocked()
            layer.answering.set()
    assert [len(one) for one in layer.batches] == [1, 4]
    assert failed == {"id-3": 2}


async def test_a_batch_waits_for_more_but_not_for_ever() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batches = sub.batches(3, wait=60)
        async with anyio.create_task_group() as tasks:
            got = []

            async def read() -> None:
                got.append(await anext(batches))

            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            assert not got
            layer.put(leased(2), leased(3))
        await got[0].ack()
        layer.put(leased(4))
        short = await anext(sub.batches(3, wait=0.01))
        assert len(short) == 1
        await short.ack()


@pytest.mark.parametrize(
    ("flag", "settle"),
    [
        ("nack", lambda d: d.nack()),
        ("nack_delay", lambda d: d.nack(delay=1)),
        ("reject", lambda d: d.reject()),
        ("extend", lambda d: d.extend(10)),
    ],
)
async def test_what_the_layer_cannot_do_is_refused_and_changes_nothing(flag, settle) -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(**{flag: False}))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(CapabilityError):
            await settle(delivery)
        assert sub.statistics().held == 1
        await delivery.ack()
    assert layer.settled(Verb.ACK) == [1]


async def test_a_forgotten_delivery_warns_and_comes_again() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        delivery = await anext(sub)  # the place the warning names
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del delivery
            gc.collect()
        assert [w.category for w in caught] == [UnsettledWarning]
        words = str(caught[0].message)
        assert "test_settling.py" in words
        lines = Path(__file__).read_text().splitlines()
        line = 1 + next(n for n, text in enumerate(lines) if "the place the warning" in text)
        assert f":{line} " in words
        await wait_all_tasks_blocked()
        clock.advance(11)
        await wait_all_tasks_blocked()
        assert [(s.token, s.verb, s.delay) for s in layer.batches[0]] == [(1, Verb.NACK, 30.0)]


@pytest.mark.parametrize(
    ("nack", "extension"),
    [
        (False, Outcome.CONFIRMED),  # nobody can ask for it: its lease is renewed no more
        (True, Outcome.LOST),  # it is another consumer's already
    ],
)
async def test_a_forgotten_delivery_that_cannot_be_nacked_is_not_ours_any_more(
    *, nack: bool, extension: Outcome
) -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1), capabilities=without(nack=nack))
    layer.extension = extension
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        with warnings.catch_warnings(action="ignore", category=UnsettledWarning):
            await anext(sub)
            gc.collect()
        await wait_all_tasks_blocked()
        clock.advance(11)
        await wait_all_tasks_blocked()
        assert (sub.statistics().lost, sub.statistics().held) == (1, 0)
        extended = len(layer.extended)
        clock.advance(11)
        await wait_all_tasks_blocked()
        assert len(layer.extended) == extended
    assert layer.batches == []


async def test_a_rejected_delivery_takes_its_dead_letter_along() -> None:
    layer = ScriptedLayer(leased(1, b'{"a":1}', attempt=2))
    redelivery = Redelivery(dead_letter="t.dead")
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", redelivery=redelivery) as sub,
    ):
        await (await anext(sub)).reject("no such customer")
    (settlement,) = layer.batches[0]
    letter = settlement.dead_letter
    assert letter is not None
    assert (letter.topic, letter.body, letter.id) == ("t.dead", b'{"a":1}', "id-1")
    assert letter.headers["acked-reason"] == "no such customer"
    assert letter.headers["acked-topic"] == "t"
    assert letter.headers["acked-attempt"] == "2"


async def test_a_delivery_and_a_message_tell_what_travelled_with_the_body() -> None:
    record = Record("t", b"1", "id-1", "key", {"source": "web"}, timestamp=5.0)
    layer, news = ScriptedLayer(Leased(record, 1, 3, "at-1")), ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        await delivery.ack()
    async with Channel(news) as channel, channel.subscribe("t") as listening:
        news.sinks[0].offer(record)
        message = await anext(listening)
    for item in (delivery, message):
        assert (item.topic, item.id, item.key, item.timestamp) == ("t", "id-1", "key", 5.0)
        assert item.headers == {"source": "web"}
    assert (delivery.attempt, delivery.position) == (3, "at-1")
    assert repr(delivery) == "<Delivery 'id-1' of 't', attempt 3, acked>"
    assert repr(message) == "<Message 'id-1' of 't'>"


async def test_pipelined_nacks_and_rejections_return_at_once_too() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g", confirm_acks=False) as sub:
            await (await anext(sub)).nack(delay=2.0)
            await (await anext(sub)).reject()
        assert (sub.statistics().nacked, sub.statistics().rejected) == (1, 1)


async def test_a_batch_that_is_not_confirmed_says_so_for_each_member() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    layer.outcome = Outcome.UNKNOWN
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batch = await anext(sub.batches(2))
        assert repr(batch) == "<Batch of 2>"
        with pytest.raises(ExceptionGroup, match="2 of 2") as caught:
            await batch.ack()
        assert {type(error) for error in caught.value.exceptions} == {AckUnconfirmed}


async def test_a_lease_found_lost_by_an_extension_is_lost() -> None:
    layer = ScriptedLayer(leased(1))
    layer.extension = Outcome.LOST
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(LeaseLost):
            await delivery.extend(5)
        assert sub.statistics().lost == 1


async def test_leases_that_need_no_renewal_get_none() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1), capabilities=without(lease="connection"))
    async with Channel(layer, clock=clock) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        await wait_all_tasks_blocked()
        clock.advance(100)
        await wait_all_tasks_blocked()
        assert layer.extended == []
        await delivery.ack()


async def test_a_failed_handler_is_nacked_at_once_where_delays_do_not_exist() -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(nack_delay=False))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        with pytest.raises(ZeroDivisionError):
            async with await anext(sub):
                raise ZeroDivisionError
    assert layer.batches[0][0].delay == 0.0


@pytest.mark.parametrize("may_pass", [True, False])
async def test_a_settlement_that_was_refused_says_whether_that_may_pass(*, may_pass: bool) -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        layer.replies = [[LayerError("the disk is full", may_pass=may_pass)]]
        with pytest.raises(LayerError, match="refused, and it is still owed") as caught:
            await delivery.ack()
        assert caught.value.may_pass is may_pass
        await delivery.ack()


async def test_dead_letters_of_many_bytes_travel_in_several_requests() -> None:
    body = b'"' + b"x" * (LETTER_BYTES * 2 // 5) + b'"'
    layer = ScriptedLayer(*(leased(number, body) for number in range(10)))
    layer.answering = anyio.Event()
    redelivery = Redelivery(dead_letter="dead")
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", redelivery=redelivery) as sub,
    ):
        first, *others = [await anext(sub) for _ in range(10)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.ack)
            await wait_all_tasks_blocked()
            for delivery in others:
                tasks.start_soon(delivery.reject, "no")
            await wait_all_tasks_blocked()
            layer.answering.set()
        assert sub.statistics().rejected == 9
    assert [len(batch) for batch in layer.batches] == [1, 3, 3, 3]
    assert sorted(layer.settled(Verb.REJECT)) == list(range(1, 10))  # type: ignore[type-var]


async def test_where_one_of_several_requests_fails_each_is_told_its_own_answer() -> None:
    body = b'"' + b"x" * LETTER_BYTES + b'"'
    layer = ScriptedLayer(*(leased(number, body) for number in range(3)))
    layer.answering = anyio.Event()
    layer.replies = [[Outcome.CONFIRMED], [Outcome.CONFIRMED], []]  # none: as a bug would
    told: dict[int, object] = {}
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", redelivery=Redelivery(dead_letter="dead")) as sub,
    ):
        deliveries = [await anext(sub) for _ in range(3)]

        async def reject(number: int) -> None:
            try:
                told[number] = await deliveries[number].reject("no")
            except AckUnconfirmed as error:
                told[number] = type(error.__cause__)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(reject, number)
                await wait_all_tasks_blocked()
            layer.answering.set()
        assert told == {0: None, 1: None, 2: LayerError}
        with pytest.raises(LayerError, match="the layer has a bug"):
            await anext(sub)
