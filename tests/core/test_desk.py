"""What the policy does beside settling: an orderly leaving, and news of what went wrong."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import sleep
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from acked import (
    AckUnconfirmed,
    Backoff,
    Channel,
    ChannelClosed,
    ConnectionLost,
    LayerError,
    LeaseLost,
    VirtualClock,
)
from acked._core.ack.subscription import AckSubscription
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, leased, prefetch

pytestmark = pytest.mark.anyio


class Leaver:
    """A subscription in a task of its own, so that others can act while it is being left."""

    def __init__(self, layer: ScriptedLayer, **options: Any) -> None:
        self.layer = layer
        self.options = options
        self.sub: AckSubscription[Any]
        self._go = anyio.Event()

    async def __call__(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with Channel(self.layer) as channel:
            async with channel.subscribe("t", group="g", **self.options) as self.sub:
                task_status.started()
                await self._go.wait()

    async def leave(self) -> None:
        """Begin to leave, and come as far as the layer lets it."""
        self._go.set()
        await wait_all_tasks_blocked()


@asynccontextmanager
async def inside(layer: ScriptedLayer, **options: Any) -> AsyncGenerator[Leaver]:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            leaver = Leaver(layer, **options)
            await tasks.start(leaver)
            yield leaver
            layer.answering.set()
            await leaver.leave()


async def test_leaving_receives_nothing_more_and_waits_for_the_answers() -> None:
    layer = ScriptedLayer(leased(1))
    async with inside(layer, confirm_acks=False) as leaver:
        layer.answering = anyio.Event()
        await (await anext(leaver.sub)).ack()
        await leaver.leave()
        layer.put(leased(2))
        await wait_all_tasks_blocked()
        assert "left" not in layer.story
        assert len(layer.ready) == 1
    assert len(layer.ready) == 1
    assert layer.story == ["opened", "joined", "settle 1", "left", "closed"]
    statistics = leaver.sub.statistics()
    assert (statistics.acked, statistics.released) == (1, 0)


async def test_what_is_being_given_back_is_nobodys() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    async with inside(layer) as leaver:
        await prefetch(leaver.sub, 3)
        held = await anext(leaver.sub)
        layer.answering = anyio.Event()
        await leaver.leave()
        assert layer.settled(Verb.NACK) == [0]
        statistics = leaver.sub.statistics()
        assert (statistics.held, statistics.buffered, statistics.open_bytes) == (0, 0, 0)
        with pytest.raises(LeaseLost):
            await held.ack()

        async def read() -> None:
            with pytest.raises(ChannelClosed):
                await anext(leaver.sub)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            layer.answering.set()
    assert layer.released == [1, 2]


@pytest.mark.parametrize("turns", range(8))
async def test_whoever_settles_at_any_step_of_leaving_gets_an_answer(turns: int) -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    outcomes: list[str] = []

    async with inside(layer) as leaver:
        deliveries = [await anext(leaver.sub) for _ in range(3)]
        layer.answering = anyio.Event()

        async def ack_all() -> None:
            for delivery in deliveries:
                try:
                    await delivery.ack()
                except (AckUnconfirmed, LeaseLost) as error:
                    outcomes.append(type(error).__name__)
                else:
                    outcomes.append("acked")
                for _ in range(turns):
                    await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ack_all)
            await wait_all_tasks_blocked()
            await leaver.leave()
            layer.answering.set()
    assert outcomes[0] == "acked"
    acked, nacked = layer.settled(Verb.ACK), layer.settled(Verb.NACK)
    assert outcomes.count("acked") == len(acked)
    assert sorted([*acked, *nacked]) == [0, 1, 2]


async def test_a_waiting_reader_is_told_of_a_pipelined_failure() -> None:
    layer = ScriptedLayer(leased(1))
    layer.answering = anyio.Event()
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", confirm_acks=False) as sub,
    ):
        await (await anext(sub)).ack()

        async def read() -> None:
            with anyio.fail_after(5), pytest.raises(LeaseLost):
                await anext(sub)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            layer.outcome = Outcome.LOST
            layer.answering.set()


async def test_a_bug_in_a_layer_that_extends_reaches_the_reader() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1))
    layer.extension = ZeroDivisionError()
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        held = await anext(sub)
        await wait_all_tasks_blocked()
        clock.advance(10)
        with (
            anyio.fail_after(5),
            pytest.raises(LayerError, match="while extending leases: ZeroDivisionError"),
        ):
            await anext(sub)
        await held.ack()


async def test_after_a_reconnect_the_time_to_reconnect_begins_anew() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(ConnectionLost("gone"), leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", reconnect=Backoff(initial=1), reconnect_timeout=5) as sub,
    ):

        async def read_on() -> None:
            await (await anext(sub)).ack()

        async with anyio.create_task_group() as tasks:
            for more in ([], [ConnectionLost("gone again"), leased(2)]):
                layer.put(*more)
                tasks.start_soon(read_on)
                await wait_all_tasks_blocked()
                clock.advance(2)
                await wait_all_tasks_blocked()
                clock.advance(10)
    assert layer.settled(Verb.ACK) == [1, 2]


async def test_a_lost_lease_takes_nothing_else_out_of_the_buffer() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        first = await anext(sub)
        layer.extension = Outcome.LOST
        with pytest.raises(LeaseLost):
            await first.extend(5)
        with anyio.fail_after(5):
            await (await anext(sub)).ack()
    assert layer.settled(Verb.ACK) == [2]


async def test_a_reader_with_enough_in_the_buffer_causes_no_fetch() -> None:
    layer = ScriptedLayer(*map(leased, range(4)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 4)
        before = list(layer.receives)
        deliveries = [await anext(sub) for _ in range(3)]
        await deliveries[0].ack()
        await wait_all_tasks_blocked()
        assert layer.receives == before


async def test_without_time_to_reconnect_the_first_loss_is_told() -> None:
    layer = ScriptedLayer(ConnectionLost("gone"), leased(1))
    async with (
        Channel(layer, clock=VirtualClock()) as channel,
        channel.subscribe("t", group="g", reconnect_timeout=0) as sub,
    ):
        with anyio.fail_after(5), pytest.raises(ConnectionLost, match="gone"):
            await anext(sub)


async def test_a_handler_that_never_suspends_lets_other_tasks_run() -> None:
    layer = ScriptedLayer(*map(leased, range(300)))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with Channel(layer) as channel, channel.subscribe("t", group="g", in_flight=300) as sub:
        held = [await anext(sub)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await checkpoint()
            before = turns
            while len(held) < 300:
                held.append(await anext(sub))
                sleep(0.0001)
            tasks.cancel_scope.cancel()
        assert turns >= before + 2
