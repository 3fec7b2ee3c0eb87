"""The memory queue against its contract: what wakes a waiting receive, and whose turn it is."""

import itertools
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from acked.clocks import VirtualClock
from acked.layers.memory_queue import RECORDS_BETWEEN_CHECKPOINTS, MemoryQueueLayer
from acked.types import Leased, Record, Settlement, Verb
from tests.layers.queue_bench import LEASE, Bench, ids, one, settle, start

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class CountingClock(VirtualClock):
    """Counts how often somebody looks at it."""

    looks = 0

    def time(self) -> float:
        self.looks += 1
        return super().time()


def counting_bench() -> tuple[Bench, CountingClock]:
    bench, clock = Bench(), CountingClock()
    bench.clock, bench.layer = clock, MemoryQueueLayer(clock=clock)
    return bench, clock


class TestWaiting:
    """A waiting receive, and everything that can wake it."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench()

    async def test_a_publish_wakes_it(self, bench: Bench) -> None:
        async with bench.feed() as feed, anyio.create_task_group() as tasks:
            got = start(tasks, feed)
            await wait_all_tasks_blocked()
            await bench.publish("a", "b")
        assert got == ["a", "b"]

    @pytest.mark.parametrize("way", ["nack", "release", "leave"])
    async def test_what_another_consumer_gives_back_wakes_it(self, bench: Bench, way: str) -> None:
        async with bench.feed() as feed, anyio.create_task_group() as tasks:
            async with bench.feed() as other:
                await bench.publish("a")
                held = await one(other)
                got = start(tasks, feed)
                await wait_all_tasks_blocked()
                if way == "nack":
                    await settle(other, Verb.NACK, held)
                elif way == "release":
                    await other.release([held.token])
        assert got == ["a"]

    async def test_a_dead_letter_wakes_the_consumer_of_its_topic(self, bench: Bench) -> None:
        async with bench.feed() as feed, bench.feed("dead") as graveyard:
            await bench.publish("a")
            held = await one(feed)
            async with anyio.create_task_group() as tasks:
                got = start(tasks, graveyard)
                await wait_all_tasks_blocked()
                await feed.settle(
                    [Settlement(held.token, Verb.REJECT, dead_letter=Record("dead", b"", "x"))]
                )
        assert got == ["x"]

    async def test_the_end_of_a_lease_wakes_it(self, bench: Bench) -> None:
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a")
            await one(other)
            async with anyio.create_task_group() as tasks:
                got = start(tasks, feed)
                await wait_all_tasks_blocked()
                bench.clock.advance(LEASE)
        assert got == ["a"]

    async def test_the_end_of_a_delay_wakes_it(self, bench: Bench) -> None:
        async with bench.feed() as feed:
            await bench.publish("a")
            await settle(feed, Verb.NACK, await one(feed), delay=5.0)
            async with anyio.create_task_group() as tasks:
                got = start(tasks, feed)
                await wait_all_tasks_blocked()
                bench.clock.advance(5.0)
        assert got == ["a"]

    async def test_a_moment_that_comes_up_during_the_wait_wakes_it_in_time(
        self, bench: Bench
    ) -> None:
        async with bench.feed() as feed, bench.feed() as third, bench.feed() as other:
            await bench.publish("a")
            held = await one(other)
            async with anyio.create_task_group() as tasks:
                got = [start(tasks, feed), start(tasks, third)]  # both sleep until the lease ends
                await wait_all_tasks_blocked()
                await settle(other, Verb.NACK, held, delay=2.0)
                await wait_all_tasks_blocked()
                bench.clock.advance(2.0)
                await wait_all_tasks_blocked()
                assert sorted(got) == [[], ["a"]]
                await bench.publish("b")
        assert sorted(got) == [["a"], ["b"]]

    async def test_an_extended_lease_does_not_come_early(self, bench: Bench) -> None:
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a")
            held = await one(other)
            async with anyio.create_task_group() as tasks:
                got = start(tasks, feed)
                await wait_all_tasks_blocked()
                bench.clock.advance(20.0)
                await other.extend([held.token], LEASE)
                bench.clock.advance(20.0)
                await wait_all_tasks_blocked()
                assert got == []
                bench.clock.advance(10.0)
        assert got == ["a"]

    async def test_a_batch_is_shared_by_waiting_consumers_without_a_lost_wake_up(
        self, bench: Bench
    ) -> None:
        async with bench.feed() as one_, bench.feed() as two, bench.feed() as three:
            async with anyio.create_task_group() as tasks:
                got = [start(tasks, feed, limit=2) for feed in (one_, two, three)]
                await wait_all_tasks_blocked()
                await bench.publish("a", "b", "c", "d", "e")
        assert sorted(itertools.chain(*got)) == ["a", "b", "c", "d", "e"]
        assert sorted(map(len, got)) == [1, 2, 2]

    @pytest.mark.parametrize("cancelled_first", [True, False])
    async def test_a_woken_consumer_that_is_cancelled_passes_the_wake_up_on(
        self, bench: Bench, cancelled_first: bool
    ) -> None:
        async with bench.feed() as feed, bench.feed() as other:
            async with anyio.create_task_group() as tasks, anyio.create_task_group() as doomed:
                start(doomed, feed)
                await wait_all_tasks_blocked()
                got = start(tasks, other)
                await wait_all_tasks_blocked()
                if cancelled_first:
                    doomed.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await bench.publish("a")
                doomed.cancel_scope.cancel()
        assert got == ["a"]

    async def test_the_consumer_that_watched_the_clock_passes_that_on_when_cancelled(
        self, bench: Bench
    ) -> None:
        async with bench.feed() as feed, bench.feed() as watcher, bench.feed() as holder:
            await bench.publish("a")
            held = await one(holder)
            async with anyio.create_task_group() as tasks, anyio.create_task_group() as doomed:
                got = start(tasks, feed)
                await wait_all_tasks_blocked()
                start(doomed, watcher)
                await wait_all_tasks_blocked()
                await holder.extend([held.token], 1.0)  # an earlier end: the last one looks
                await wait_all_tasks_blocked()
                doomed.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await wait_all_tasks_blocked()
                bench.clock.advance(1.0)
        assert got == ["a"]

    @pytest.mark.parametrize("turns", range(5))
    async def test_cancelling_a_receive_at_any_turn_leases_nothing(
        self, bench: Bench, turns: int
    ) -> None:
        got: list[Leased] = []

        async def receive() -> None:
            got.extend(await feed.receive(1))

        async with bench.feed() as feed:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                tasks.start_soon(bench.publish, "a")
                for _ in range(turns):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            assert f"{len(got)} held" in repr(bench.layer)

    async def test_an_idle_consumer_does_not_spin(self) -> None:
        bench, clock = counting_bench()
        async with bench.feed() as feed, bench.feed() as other, bench.feed() as holder:
            await bench.publish("a", "b")
            held, _ = await holder.receive(2)
            async with anyio.create_task_group() as tasks:
                start(tasks, feed)
                start(tasks, other)
                await wait_all_tasks_blocked()
                await settle(holder, Verb.ACK, held)
                clock.looks = 0
                for _ in range(10):
                    await bench.publish("x", topic="another")
                    clock.advance(1.0)
                    await wait_all_tasks_blocked()
                assert clock.looks == 0
                tasks.cancel_scope.cancel()

    async def test_an_earlier_moment_wakes_one_consumer_and_not_the_whole_herd(self) -> None:
        bench, clock = counting_bench()
        async with AsyncExitStack() as stack:
            herd = [await stack.enter_async_context(bench.feed()) for _ in range(5)]
            holder = await stack.enter_async_context(bench.feed())
            await bench.publish("a", "b", "c")
            a, b, c = await holder.receive(3)
            async with anyio.create_task_group() as tasks:
                for feed in herd:
                    start(tasks, feed)
                await wait_all_tasks_blocked()
                clock.looks = 0
                await holder.extend([a.token], 5.0)
                await wait_all_tasks_blocked()
                for settled in (b, c):  # no reason for anybody to look
                    await settle(holder, Verb.ACK, settled)
                    await wait_all_tasks_blocked()
                assert clock.looks == 3 + 1  # three by the holder, one by the consumer woken
                tasks.cancel_scope.cancel()

    async def test_it_waits_on_the_systems_clock_as_well(self) -> None:
        bench = Bench()
        bench.layer = MemoryQueueLayer()
        async with bench.feed(lease=0.02) as feed, bench.feed(lease=0.02) as other:
            await bench.publish("a")
            attempts = [(await one(feeds)).attempt for feeds in (feed, other, feed)]
        assert attempts == [1, 2, 3]


class TestFairness:
    @pytest.mark.parametrize("topics", list(itertools.permutations(["busy", "quiet", "idle"])))
    async def test_a_busy_topic_does_not_starve_a_quiet_one(self, topics: tuple[str, ...]) -> None:
        bench = Bench()
        async with bench.feed(*topics) as feed:
            await bench.publish(*map(str, range(5000)), topic="busy")
            await bench.publish("here", topic="quiet")
            batch = await ids(feed, 100)
            assert "here" in batch
            assert len(batch) == 100

    async def test_with_room_for_one_the_topics_take_turns(self) -> None:
        bench = Bench()
        async with bench.feed("t", "u", "v") as feed:
            for topic in "tuv":
                await bench.publish(f"{topic}1", f"{topic}2", topic=topic)
            got = [(await one(feed)).record.id for _ in range(6)]
        assert sorted(got[:3]) == ["t1", "u1", "v1"]
        assert sorted(got[3:]) == ["t2", "u2", "v2"]

    async def test_a_publisher_in_a_tight_loop_lets_others_run(self) -> None:
        bench, turns = Bench(), 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_turns)
            for _ in range(10 * RECORDS_BETWEEN_CHECKPOINTS):
                await bench.publish("a")
            tasks.cancel_scope.cancel()
        assert turns >= 5

    async def test_a_cancelled_publish_keeps_nothing(self) -> None:
        bench = Bench()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await bench.publish(*map(str, range(RECORDS_BETWEEN_CHECKPOINTS + 1)))
        assert "keeps" not in repr(bench.layer)
