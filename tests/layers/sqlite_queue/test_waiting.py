"""What wakes a consumer of a queue file that waits."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from acked.abc import AckFeed
from acked.clocks import VirtualClock
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Settlement, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    consuming,
    make,
    receive,
    seen,
    settle,
    until_it_waits,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def waiting(
    layer: SQLiteQueueLayer, feed: AckFeed, expected: list[tuple[str, int]]
) -> AsyncGenerator[None, None]:
    """Run the block while `feed` waits; it must then receive what is expected."""

    async def waits() -> None:
        assert seen(await receive(feed)) == expected

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits)
        await until_it_waits(layer, feed)
        yield


async def test_a_waiting_receive_sees_what_another_layer_published(path: Path) -> None:
    async with SQLiteQueueLayer(path, poll=0.01) as layer, SQLiteQueueLayer(path) as other:
        async with consuming(layer) as feed, waiting(layer, feed, [("a", 1)]):
            await other.publish(make("a"))


@pytest.mark.parametrize("event", ["publish", "nack", "release", "dead letter", "leave"])
async def test_a_waiting_receive_sees_at_once_what_its_own_layer_did(
    path: Path, event: str
) -> None:
    # Polled every hundred seconds: nothing but the event itself can be what woke it.
    async with SQLiteQueueLayer(path, poll=100.0) as layer:
        async with consuming(layer) as feed, AsyncExitStack() as leaving:
            holder = await leaving.enter_async_context(consuming(layer))
            await layer.publish(make("a"))
            (a,) = await receive(holder)
            id_and_attempt = {"release": ("a", 1), "publish": ("b", 1), "dead letter": ("b", 1)}
            async with waiting(layer, feed, [id_and_attempt.get(event, ("a", 2))]):
                if event == "publish":
                    await layer.publish(make("b"))
                elif event == "nack":
                    await settle(holder, Settlement(a.token, Verb.NACK))
                elif event == "release":
                    await holder.release([a.token])
                elif event == "dead letter":
                    (dead,) = make("b")
                    await settle(holder, Settlement(a.token, Verb.REJECT, dead_letter=dead))
                else:
                    await leaving.aclose()


@pytest.mark.parametrize("event", ["delay", "lease", "lease cut short"])
async def test_a_waiting_receive_sees_the_end_of_a_delay_or_a_lease(path: Path, event: str) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, poll=0.01, time=clock.time) as layer:
        async with consuming(layer) as holder, consuming(layer) as feed:
            await layer.publish(make("a"))
            (a,) = await receive(holder)
            if event == "delay":
                await settle(holder, Settlement(a.token, Verb.NACK, LEASE))
            async with waiting(layer, feed, [("a", 2)]):
                if event == "lease cut short":
                    assert await holder.extend([a.token], 1.0) == [CONFIRMED]
                clock.advance(1.0 if event == "lease cut short" else LEASE)
