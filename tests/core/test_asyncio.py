"""What asyncio programs do that knows nothing of anyio: timeouts, task.cancel(), gather."""

import asyncio

import pytest
from anyio import Event, wait_all_tasks_blocked

from acked import Channel
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Record, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, leased

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_native_timeout_releases_what_is_held() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
                _held = await anext(sub)
                await asyncio.sleep(60)
    assert layer.released == [1]
    assert layer.story[-2:] == ["left", "closed"]


async def test_a_cancelled_task_flushes_its_pipelined_acks() -> None:
    layer = ScriptedLayer(leased(1))
    acked = asyncio.Event()

    async def consume() -> None:
        async with (
            Channel(layer) as channel,
            channel.subscribe("t", group="g", confirm_acks=False) as sub,
        ):
            await (await anext(sub)).ack()
            acked.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(consume())
    await acked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert layer.settled(Verb.ACK) == [1]


async def test_wait_for_around_a_read_loses_nothing() -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        async with channel.subscribe("t", group="g") as sub:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(sub), 0.001)
                await channel.publish("t", number)
                delivery = await asyncio.wait_for(anext(sub), 5)
                assert delivery.body == number
                await delivery.ack()


async def test_tasks_share_a_subscription_by_gather() -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        await channel.publish_many("t", range(100))
        async with channel.subscribe("t", group="g") as sub:
            seen: list[object] = []

            async def work() -> None:
                while len(seen) < 100:
                    delivery = await anext(sub)
                    seen.append(delivery.body)
                    await delivery.ack()

            workers = [asyncio.create_task(work()) for _ in range(8)]
            _, pending = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in pending:
                worker.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            assert sorted(seen) == list(range(100))  # type: ignore[type-var]
            assert sub.statistics().acked == 100


async def test_who_was_answered_just_now_goes_with_the_next_flush() -> None:
    layer = ScriptedLayer(*map(leased, range(20)))
    layer.answering = Event()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        deliveries = [await anext(sub) for _ in range(20)]

        async def ack_two(number: int) -> None:
            await deliveries[number].ack()
            await deliveries[number + 10].ack()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ack_two(0))
            await wait_all_tasks_blocked()
            for number in range(1, 10):
                tasks.create_task(ack_two(number))
            await wait_all_tasks_blocked()
            layer.answering.set()
    assert [len(batch) for batch in layer.batches] == [1, 10, 9]


async def test_a_reader_that_is_cancelled_when_woken_wakes_another() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        first, second = asyncio.ensure_future(anext(sub)), asyncio.ensure_future(anext(sub))
        await asyncio.sleep(0.01)
        sub._policy.fetcher._take([leased(1)])  # wakes the first
        first.cancel()
        async with asyncio.timeout(5):
            await (await second).ack()
    assert first.cancelled()


async def test_news_that_woke_a_reader_who_was_cancelled_wake_another() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe("t") as sub:
        first, second = (asyncio.create_task(anext(sub)) for _ in range(2))
        await wait_all_tasks_blocked()
        layer.sinks[0].offer(Record("t", b"1", "id-1"))  # this wakes the first, which then
        first.cancel()  # does not take it
        async with asyncio.timeout(20):
            assert (await second).body == 1
        with pytest.raises(asyncio.CancelledError):
            await first
