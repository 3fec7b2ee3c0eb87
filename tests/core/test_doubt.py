"""What becomes of a message whose settlement was not confirmed: it comes again, unless tried again.

Also to a reader that went on and holds the delivery still: the renewer must not renew it for ever.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    AckUnconfirmed,
    Channel,
    Delivery,
    LeaseLost,
    Redelivery,
    VirtualClock,
)
from acked.conformance import Fault, FaultLayer, FaultPlan
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, leased, without

pytestmark = pytest.mark.anyio

TURN = 10.0
"""Seconds between two turns of the renewer: a third of the lease."""


@asynccontextmanager
async def in_doubt(
    layer: ScriptedLayer, clock: VirtualClock, verb: str = "ack", **options: Any
) -> AsyncGenerator[Delivery[Any]]:
    """Give a delivery that is held, whose settlement by `verb` was answered UNKNOWN."""
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=3 * TURN, **options) as sub,
    ):
        delivery = await anext(sub)
        layer.outcome = Outcome.UNKNOWN
        with pytest.raises(AckUnconfirmed):
            await getattr(delivery, verb)()
        layer.outcome = Outcome.CONFIRMED
        yield delivery


async def pass_turn(clock: VirtualClock) -> None:
    await wait_all_tasks_blocked()
    clock.advance(TURN)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("verb", ["ack", "nack", "reject"])
async def test_what_is_in_doubt_comes_again_though_its_delivery_is_held(verb: str) -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    with anyio.fail_after(5):
        async with in_doubt(layer, clock, verb) as delivery:
            layer.batches.clear()
            await pass_turn(clock)
            assert layer.released == []
            await pass_turn(clock)
            assert layer.released == [1]
            with pytest.raises(LeaseLost):
                await delivery.ack()
            await pass_turn(clock)
    assert layer.batches == []
    assert layer.released == [1]


async def test_where_a_lease_is_the_connections_it_is_nacked_for_the_layer_to_decide() -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(lease="connection"))
    clock = VirtualClock()
    with anyio.fail_after(5):
        async with in_doubt(layer, clock) as delivery:
            await pass_turn(clock)
            assert layer.settled(Verb.NACK) == []
            await pass_turn(clock)
            assert layer.settled(Verb.NACK) == [1]
            with pytest.raises(LeaseLost):
                await delivery.ack()


async def test_a_message_whose_acks_stay_in_doubt_is_not_charged_with_failures() -> None:
    clock = VirtualClock()
    plan = FaultPlan([Fault("settle", number, "unsent") for number in range(4)])
    layer = FaultLayer(MemoryQueueLayer(clock=clock), plan)
    redelivery = Redelivery(max_deliveries=2, dead_letter="t.dead")
    with anyio.fail_after(5):
        async with (
            Channel(layer, clock=clock) as channel,
            channel.subscribe("t", group="g", lease=3 * TURN, redelivery=redelivery) as sub,
        ):
            await channel.publish("t", "body")
            for _ in range(4):
                delivery = await anext(sub)
                assert (delivery.attempt, delivery._entry.leased.failures) == (1, 0)
                with pytest.raises(AckUnconfirmed):
                    await delivery.ack()
                await pass_turn(clock)
                await pass_turn(clock)
            assert sub.statistics().dead_lettered == 0


@pytest.mark.parametrize("answer", [Outcome.LOST, Outcome.UNKNOWN])
async def test_what_comes_of_taking_it_back_is_not_told_to_the_reader(answer: Outcome) -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(lease="connection"))
    clock = VirtualClock()
    layer.outcome = Outcome.UNKNOWN
    with anyio.fail_after(5):
        async with (
            Channel(layer, clock=clock) as channel,
            channel.subscribe("t", group="g", lease=3 * TURN, confirm_acks=False) as sub,
        ):
            delivery = await anext(sub)
            await delivery.ack()
            with pytest.raises(AckUnconfirmed):
                await anext(sub)
            layer.outcome = answer
            await pass_turn(clock)
            await pass_turn(clock)
            assert layer.settled(Verb.NACK) == [1]
            layer.put(leased(2))
            layer.outcome = Outcome.CONFIRMED
            await (await anext(sub)).ack()


async def test_for_a_third_of_the_lease_it_may_be_tried_again() -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    with anyio.fail_after(5):
        async with in_doubt(layer, clock) as delivery:
            await pass_turn(clock)
            assert layer.extended == [([1], 3 * TURN)]
            await delivery.ack()
            await pass_turn(clock)
    assert layer.settled(Verb.NACK) == []
    assert layer.settled(Verb.ACK) == [1, 1]


async def test_in_doubt_again_it_has_another_turn() -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    with anyio.fail_after(5):
        async with in_doubt(layer, clock) as delivery:
            await pass_turn(clock)
            layer.outcome = Outcome.UNKNOWN
            with pytest.raises(AckUnconfirmed):
                await delivery.ack()
            layer.outcome = Outcome.CONFIRMED
            await pass_turn(clock)
            await delivery.ack()
    assert layer.settled(Verb.NACK) == []


async def test_a_dead_letter_in_doubt_is_tried_again_and_its_message_not_nacked() -> None:
    layer, clock = ScriptedLayer(leased(1, attempt=2)), VirtualClock()
    layer.outcome = Outcome.UNKNOWN
    with anyio.fail_after(5):
        async with (
            Channel(layer, clock=clock) as channel,
            channel.subscribe(
                "t",
                group="g",
                lease=3 * TURN,
                redelivery=Redelivery(max_deliveries=1, dead_letter="dead"),
            ) as sub,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(anext, sub)
            for _ in range(3):
                await pass_turn(clock)
            layer.outcome = Outcome.CONFIRMED
            await pass_turn(clock)
            tasks.cancel_scope.cancel()
    assert layer.settled(Verb.NACK) == []
    assert len(layer.settled(Verb.REJECT)) >= 2


async def test_a_layer_that_cannot_nack_lets_its_lease_end() -> None:
    layer, clock = ScriptedLayer(leased(1), capabilities=without(nack=False)), VirtualClock()
    with anyio.fail_after(5):
        async with in_doubt(layer, clock) as delivery:
            await pass_turn(clock)
            await pass_turn(clock)
            layer.extended.clear()
            await pass_turn(clock)
            assert layer.extended == []
            with pytest.raises(LeaseLost):
                await delivery.ack()
