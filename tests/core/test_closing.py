"""Closing hands out nothing more, gives back what nobody saw, and leaves nobody waiting."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import Channel, ChannelClosed, ConfigurationError, LeaseLost
from acked.types import Verb
from tests.core.scripted import ScriptedLayer, leased, prefetch

pytestmark = pytest.mark.anyio


async def test_closing_hands_out_nothing_more_and_gives_back_the_unseen_at_once() -> None:
    layer = ScriptedLayer(*map(leased, range(5)))
    closing = anyio.Event()
    async with Channel(layer) as channel:

        async def read() -> None:
            async with channel.subscribe("t", group="g") as sub:
                await prefetch(sub, 5)
                delivery = await anext(sub)
                closing.set()
                await wait_all_tasks_blocked()  # the work on it, while the channel closes
                assert sorted(layer.released) == [1, 2, 3, 4]
                await delivery.ack()  # what was in hand may be finished
                with pytest.raises(ChannelClosed):
                    await anext(sub)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await closing.wait()
            with anyio.fail_after(5):
                await channel.aclose()
    assert layer.settled(Verb.ACK) == [0]
    assert layer.story[-1] == "closed"


@pytest.mark.parametrize("by", ["the closing channel", "the user"])
async def test_who_leaves_waits_for_what_another_task_gives_back(by: str) -> None:
    """Else the layer would find it held, and charge an attempt for what nobody saw."""
    layer = ScriptedLayer(leased(1))
    layer.releasing = anyio.Event()

    async def answer() -> None:
        await wait_all_tasks_blocked()  # also who leaves
        assert layer.released == [1]
        assert "left" not in layer.story
        layer.releasing.set()

    async with Channel(layer) as channel, anyio.create_task_group() as tasks:
        async with channel.subscribe("t", group="g") as sub:
            if by == "the user":
                tasks.start_soon((await anext(sub)).release)
            else:
                await prefetch(sub, 1)
                tasks.start_soon(channel.aclose)
            await wait_all_tasks_blocked()
            tasks.start_soon(answer)
    assert layer.story == ["opened", "joined", "release", "left", "closed"]


async def test_what_is_in_hand_for_longer_than_close_timeout_is_given_back() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer, close_timeout=0.05) as channel, anyio.create_task_group() as tasks:
        begun, closed = anyio.Event(), anyio.Event()

        async def read() -> None:
            async with channel.subscribe("t", group="g") as sub:
                delivery = await anext(sub)
                begun.set()
                await closed.wait()
                with pytest.raises(LeaseLost):
                    await delivery.ack()

        tasks.start_soon(read)
        await begun.wait()
        with anyio.fail_after(5):
            await channel.aclose()
        assert layer.released == [1]
        closed.set()
    assert layer.settled(Verb.ACK) == []


async def test_closing_while_a_subscription_is_being_entered_wakes_its_reader() -> None:
    class NeverJoins(ScriptedLayer):
        @asynccontextmanager
        async def consume(self, topics: Sequence[str], group: str, **options: Any) -> AsyncIterator:
            await anyio.sleep_forever()
            yield

    with anyio.fail_after(5):
        async with Channel(NeverJoins()) as channel, anyio.create_task_group() as tasks:

            async def enter() -> None:
                with pytest.raises(ChannelClosed, match="being entered"):
                    await channel.subscribe("t", group="g").__aenter__()

            tasks.start_soon(enter)
            await wait_all_tasks_blocked()
            await channel.aclose()


async def test_a_layer_in_two_channels_is_closed_by_the_last() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as first:
        async with Channel(layer):
            pass
        assert layer.story == ["opened"]
        await first.publish("t", 1)
    assert layer.story == ["opened", "closed"]


async def test_a_channel_used_in_another_thread_says_so() -> None:
    async with Channel(ScriptedLayer()) as channel:

        def elsewhere() -> None:
            with pytest.raises(ConfigurationError, match="in another thread"):
                channel._require_open()

        await anyio.to_thread.run_sync(elsewhere)
