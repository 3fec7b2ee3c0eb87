"""A worker that is told to stop: what was begun ends or goes back, and nobody pays for it."""

import threading

import anyio
import anyio.from_thread
import pytest

from acked import Channel, ChannelClosed, Delivery, Topic
from acked.abc import AckLayer
from tests.worker.conftest import MakeLayer
from tests.worker.kit import attempts_until, nothing_is_owed

pytestmark = pytest.mark.anyio


async def test_handlers_that_end_within_the_drain_have_their_messages_acked(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    handled: list[int] = []
    release = anyio.Event()
    begun = anyio.Event()
    async with Channel(make_layer()) as channel, Channel(make_layer()) as other:
        await channel.publish_many(jobs, range(20))

        async def handle(number: int) -> None:
            handled.append(number)
            if len(handled) == 4:
                begun.set()
            await release.wait()

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as workers:
                workers.start_soon(
                    lambda: channel.process(jobs, handle, group="g", concurrency=4, drain=20)
                )
                await begun.wait()
                workers.cancel_scope.cancel()
                # While the four go on, another consumer has all the rest.
                tasks.start_soon(read_then, other, jobs, 16, release)
        assert sorted(handled) == [0, 1, 2, 3]
        await nothing_is_owed(channel, jobs)


async def read_then(
    channel: Channel[AckLayer], jobs: Topic[int], count: int, done: anyio.Event
) -> None:
    seen = set()
    with anyio.CancelScope(shield=True), anyio.fail_after(5):
        async with channel.subscribe(jobs, group="g") as sub:
            while len(seen) < count:
                delivery = await anext(sub)
                assert delivery.attempt == 1
                seen.add(delivery.body)
                await delivery.ack()
    assert seen == set(range(4, 20))
    done.set()


async def test_handlers_that_do_not_are_cancelled_and_nobody_pays(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    begun: list[int] = []
    async with Channel(make_layer()) as channel, Channel(make_layer()) as other:
        for number in range(40):
            await channel.publish(jobs, number, key=str(number % 8))
        all_begun = anyio.Event()

        async def handle(delivery: Delivery[int]) -> None:
            begun.append(delivery.body)
            if len(begun) == 8:
                all_begun.set()
            await anyio.sleep_forever()

        async def work() -> None:
            await channel.process(jobs, handle, group="g", ordered_by="key", drain=0.3)

        async with anyio.create_task_group() as workers:
            workers.start_soon(work)
            await all_begun.wait()
            workers.cancel_scope.cancel()
        seen = await attempts_until(other, jobs, set(range(40)))
        assert seen == dict.fromkeys(range(40), 1)
        assert len(begun) == 8


async def test_a_plain_function_that_goes_on_keeps_nobody(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    began, over = anyio.Event(), threading.Event()
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 1)

        def handle(_: int) -> None:
            anyio.from_thread.run_sync(began.set)
            over.wait(20)

        async def work() -> None:
            await channel.process(jobs, handle, group="g", drain=0.1)

        try:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as workers:
                    workers.start_soon(work)
                    await began.wait()
                    workers.cancel_scope.cancel()
            assert await attempts_until(channel, jobs, {1}) == {1: 1}
        finally:
            over.set()


async def test_a_worker_ends_with_what_ended_its_subscription(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    began = anyio.Event()
    errors: list[BaseException] = []
    async with Channel(make_layer(), close_timeout=5) as channel:
        await channel.publish(jobs, 1)

        async def handle(_: int) -> None:
            began.set()

        async def work() -> None:
            try:
                await channel.process(jobs, handle, group="g")
            except ChannelClosed as error:
                errors.append(error)

        async with anyio.create_task_group() as workers:
            workers.start_soon(work)
            await began.wait()
            await channel.aclose()
    assert len(errors) == 1
