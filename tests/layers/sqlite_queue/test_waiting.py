"""What wakes a consumer of a queue file that waits."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from acked.abc import AckFeed
from acked.clocks import VirtualClock
from acked.errors import LayerError
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Settlement, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    TIMEOUT,
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


def looks_of(layer: SQLiteQueueLayer, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what grows by one whenever something of `layer` asks the file."""
    looks: list[object] = []
    run = layer._access.run

    async def counting(job: Callable[[], Any]) -> Any:
        looks.append(job)
        return await run(job)

    monkeypatch.setattr(layer._access, "run", counting)
    return looks


async def test_many_idle_consumers_ask_the_file_no_more_often_than_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLiteQueueLayer(path) as layer, AsyncExitStack() as leaving:
        relying = layer._access.watch._relying
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                context = consuming(layer, f"t{number}")
                tasks.start_soon(receive, await leaving.enter_async_context(context))
            with anyio.fail_after(TIMEOUT):
                while len(relying) < 29:
                    await anyio.sleep(0.01)
            looks = looks_of(layer, monkeypatch)
            await anyio.sleep(1.0)
            assert len(looks) <= 8  # four a second
            tasks.cancel_scope.cancel()


async def test_one_sign_of_life_is_for_all_consumers_of_a_layer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait: none of them is dead, and one transaction in a while says so."""
    alive_for = 2.0
    monkeypatch.setattr("acked.layers.sqlite_queue._presence.ALIVE_FOR", alive_for)
    async with SQLiteQueueLayer(path) as layer, AsyncExitStack() as leaving:
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                context = consuming(layer, f"t{number}")
                tasks.start_soon(receive, await leaving.enter_async_context(context))
            with anyio.fail_after(TIMEOUT):
                while len(layer._access.watch._relying) < 29:
                    await anyio.sleep(0.01)
            looks = looks_of(layer, monkeypatch)
            await anyio.sleep(1.5 * alive_for)
            beats = [one for one in looks if "version" not in str(one)]
            assert 1 <= len(beats) <= 15  # each for itself, it would be 120
            for number in range(30):
                with pytest.raises(LayerError, match="has a consumer"):
                    await layer.remove_group([f"t{number}"], "g")
            tasks.cancel_scope.cancel()


async def test_of_those_who_rely_on_one_look_each_learns_what_another_process_did(
    path: Path,
) -> None:
    async with SQLiteQueueLayer(path) as layer, SQLiteQueueLayer(path) as other:
        relying = layer._access.watch._relying
        got: list[str] = []

        async def consume(topic: str) -> None:
            async with consuming(layer, topic) as feed:
                got.append((await receive(feed))[0].record.id)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(consume, f"t{number}")
            for number in (2, 0, 1):  # the first is who looks, until it has got its own
                with anyio.fail_after(TIMEOUT):
                    while len(relying) < 2 - len(got):
                        await anyio.sleep(0.01)
                began = anyio.current_time()
                await other.publish(make(str(number), topic=f"t{number}"))
                with anyio.fail_after(TIMEOUT):
                    while str(number) not in got:
                        await anyio.sleep(0.01)
                assert anyio.current_time() - began < 5.0  # a sign of life is due after ten
