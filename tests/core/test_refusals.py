"""A refusal has a name, and what was not confirmed is not done: settlements and extensions."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import AckUnconfirmed, Channel, ConnectionLost, Delivery, LayerError, VirtualClock
from acked.types import Outcome, Reply, Verb
from tests.core.scripted import ScriptedLayer, leased

pytestmark = pytest.mark.anyio

LEASE = 30.0
TURN = LEASE / 3
REFUSED = LayerError("Redis at h:6379 refuses us (NOPERM); allow it XACK")


@asynccontextmanager
async def held(layer: ScriptedLayer, clock: VirtualClock) -> AsyncGenerator[Delivery[object]]:
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        with anyio.fail_after(5):
            yield await anext(sub)


async def turn(clock: VirtualClock, count: int = 1) -> None:
    for _ in range(count):
        await wait_all_tasks_blocked()
        clock.advance(TURN)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("verb", ["ack", "nack", "reject"])
async def test_a_refused_settlement_says_who_refused_what_and_is_owed_still(verb: str) -> None:
    layer = ScriptedLayer(leased(1))
    async with held(layer, VirtualClock()) as delivery:
        layer.replies = [[REFUSED]]
        with pytest.raises(
            LayerError, match=r"of message 'id-1' .* refused.*owed.*NOPERM"
        ) as caught:
            await getattr(delivery, verb)()
        assert not isinstance(caught.value, ConnectionLost)
        assert caught.value.__cause__ is REFUSED
        await getattr(delivery, verb)()  # tried again, and now the broker says yes


async def test_the_neighbours_of_a_refused_settlement_are_settled() -> None:
    layer = ScriptedLayer(leased(1), leased(2), leased(3))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batch = await anext(sub.batches(3))
        layer.replies = [[Outcome.CONFIRMED, REFUSED, Outcome.CONFIRMED]]
        with pytest.raises(ExceptionGroup) as caught:
            await batch.ack()
        assert [str(REFUSED) in str(error) for error in caught.value.exceptions] == [True]
        assert sub.statistics().acked == 2
        assert sub.statistics().held == 1


async def test_a_connection_that_broke_is_the_cause_of_an_unconfirmed_ack() -> None:
    layer, lost = ScriptedLayer(leased(1)), ConnectionLost("reset by peer")
    async with held(layer, VirtualClock()) as delivery:
        layer.replies = [[lost]]
        with pytest.raises(AckUnconfirmed) as caught:
            await delivery.ack()
        assert caught.value.__cause__ is lost
        await delivery.ack()


async def test_refusals_are_logged_once_for_each_episode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedLayer(leased(1))
    with caplog.at_level(logging.WARNING, "acked.subscription"):
        async with held(layer, VirtualClock()) as delivery:
            layer.replies = [[REFUSED], [REFUSED], [REFUSED]]
            for _ in range(3):
                with pytest.raises(LayerError):
                    await delivery.ack()
            await delivery.ack()
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [str(REFUSED), "settling works again"]


@pytest.mark.parametrize("replies", [[], [Outcome.CONFIRMED] * 2], ids=["none", "two for one"])
async def test_a_layer_with_too_few_or_many_answers_is_told_of_and_hangs_nobody(
    replies: list[Reply],
) -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        with anyio.fail_after(5):
            delivery = await anext(sub)
            layer.replies = [replies]
            with pytest.raises(AckUnconfirmed) as caught:
                await delivery.ack()
            assert "bug" in str(caught.value.__cause__)
            with pytest.raises(LayerError, match=f"{len(replies)} answers for 1"):
                await anext(sub)
            await delivery.ack()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Outcome.UNKNOWN, AckUnconfirmed),
        (ConnectionLost("reset"), AckUnconfirmed),
        (LayerError("OOM command not allowed"), LayerError),
    ],
    ids=["unknown", "lost connection", "refused"],
)
async def test_an_extension_that_was_not_confirmed_raises_and_renewal_goes_on(
    reply: Reply, error: type[Exception]
) -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    async with held(layer, clock) as delivery:
        layer.replies = [[reply]]
        with pytest.raises(error) as caught:
            await delivery.extend(3600)
        assert caught.value.__cause__ is (reply if isinstance(reply, Exception) else None)
        layer.extended.clear()
        await turn(clock)
        assert layer.extended == [([1], LEASE)]
        await delivery.ack()


async def test_a_renewal_that_waited_for_an_extension_does_not_cut_it() -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    async with held(layer, clock) as delivery, anyio.create_task_group() as tasks:
        layer.extending = anyio.Event()
        tasks.start_soon(delivery.extend, 10 * LEASE)
        await turn(clock)  # the renewal's turn comes while the extension is on its way
        layer.extending.set()
        await turn(clock)
        assert layer.extended == [([1], 10 * LEASE)]
        await turn(clock, count=29)  # its end comes near: renewed again
        assert ([1], LEASE) in layer.extended
        await delivery.ack()


async def test_an_extension_never_shortens_what_renewal_promises() -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    async with held(layer, clock) as delivery:
        await delivery.extend(1)
        assert layer.extended == [([1], LEASE)]
        await delivery.ack()


async def test_a_refused_renewal_is_logged_and_tried_at_the_next_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer, clock = ScriptedLayer(leased(1)), VirtualClock()
    with caplog.at_level(logging.WARNING, "acked.subscription"):
        async with held(layer, clock) as delivery:
            layer.replies = [[REFUSED], [REFUSED]]
            await turn(clock, count=3)
            assert len(layer.extended) == 3
            await delivery.ack()
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [str(REFUSED), "leases are renewed again"]
    assert layer.settled(Verb.ACK) == [1]
