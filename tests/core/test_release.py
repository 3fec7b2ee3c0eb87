"""Giving back what one cannot handle here and now; and what a task left open."""

import asyncio
import logging

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import AlreadySettled, CapabilityError, Channel, LeaseLost, VirtualClock
from tests.core.scripted import ScriptedLayer, leased, without

pytestmark = pytest.mark.anyio


async def test_what_is_released_goes_back_at_once_and_no_attempt_is_charged() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        first = await anext(sub)
        await first.release()
        assert (layer.released, layer.batches) == ([0], [])
        assert (sub.statistics().held, sub.statistics().released) == (0, 1)
        with pytest.raises(LeaseLost):
            await first.ack()
        batch = await anext(sub.batches(2))
        await batch.release()
        assert layer.released == [0, 1, 2]
    assert layer.batches == []


async def test_a_batch_with_a_member_that_was_settled_is_not_released() -> None:
    layer = ScriptedLayer(*map(leased, range(2)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batch = await anext(sub.batches(2))
        for settle in (batch[0].nack, batch[0].nack):
            await settle()
        with pytest.raises(AlreadySettled):
            await batch.release()
        assert layer.released == []
        await batch[1].ack()
        with pytest.raises(AlreadySettled, match="acked"):
            await batch[1].release()


async def test_a_layer_that_cannot_release_says_so_and_the_message_is_still_held() -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(release=False))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(CapabilityError, match="nack it"):
            await delivery.release()
        await delivery.ack()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_subscription_of_a_task_that_ended_gives_back_what_it_holds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, layer = VirtualClock(), ScriptedLayer(leased(1))
    held = []
    async with Channel(layer, clock=clock, close_timeout=0.1) as channel:
        sub = channel.subscribe("t", group="g", lease=30)

        async def forgetful() -> None:
            await sub.__aenter__()
            held.append(await anext(sub))

        await asyncio.ensure_future(forgetful())
        with caplog.at_level(logging.WARNING, "acked.subscription"):
            for _ in range(3):
                await wait_all_tasks_blocked()
                clock.advance(10)
            await wait_all_tasks_blocked()
        assert layer.released == [1]
        assert len(layer.extended) <= 1
        (record,) = caplog.records
        assert "a task that has ended" in record.getMessage()
        assert "aclosing" in record.getMessage()
        with pytest.raises(LeaseLost):
            await held[0].ack()
        with anyio.CancelScope(shield=True):
            sub._scope.cancel()
