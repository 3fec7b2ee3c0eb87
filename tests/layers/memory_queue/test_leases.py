"""The ends of leases on the memory queue: remembered rightly, and not for ever."""

import random

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked.layers.memory_queue._group import SPARE_ENDS, GroupQueue, Holder, StoredTopic
from acked.types import Record, Start
from tests.layers.queue_bench import Bench, one, start

pytestmark = pytest.mark.anyio


def queue_of(count: int) -> GroupQueue:
    topic = StoredTopic()
    queue = topic.join("g", Start.EARLIEST)
    for number in range(count):
        topic.add(Record("t", b"", str(number)), 0.0)
    return queue


@pytest.mark.parametrize("seed", range(5))
def test_the_next_moment_is_the_earliest_end_of_what_is_held(seed: int) -> None:
    chance, holder = random.Random(seed), Holder()
    queue = queue_of(2000)
    for _ in range(2000):
        done = chance.random()
        if done < 0.5:
            queue.lease(1, chance.uniform(1, 1000), holder)
        elif holder:
            lease = holder[chance.choice([*holder])]
            if done < 0.8:
                queue.extend(lease, chance.uniform(1, 1000))
            else:
                del holder[lease.token]
                queue.settled(lease)
        if len(holder) > 40:
            for token in chance.sample([*holder], 35):
                queue.settled(holder.pop(token))
        if chance.random() < 0.1:
            earliest = min((lease.until for lease in holder.values()), default=float("inf"))
            assert queue.next_moment() == earliest


def test_the_ends_of_settled_leases_are_forgotten() -> None:
    queue, holder = queue_of(1000), Holder()
    for number in range(1000):
        queue.lease(1, 1000.0 + number, holder)
        _, lease = holder.popitem()
        queue.settled(lease)
        assert len(queue._ends) <= SPARE_ENDS + 2


def test_the_ends_before_an_extension_are_forgotten() -> None:
    queue, holder = queue_of(1), Holder()
    queue.lease(1, 1.0, holder)
    (lease,) = holder.values()
    for number in range(1000):
        queue.extend(lease, 2.0 + number)
        assert len(queue._ends) <= SPARE_ENDS + 2


async def test_a_lease_that_is_made_shorter_wakes_who_waits_for_its_end() -> None:
    bench = Bench()
    async with (
        bench.feed(lease=30.0) as holds,
        bench.feed(lease=30.0) as waits,
        anyio.create_task_group() as tasks,
    ):
        await bench.publish("a")
        held = await one(holds)
        got = start(tasks, waits)
        await wait_all_tasks_blocked()
        await holds.extend([held.token], 1.0)
        await wait_all_tasks_blocked()
        bench.clock.advance(1.0)
        await wait_all_tasks_blocked()
        assert got == ["a"]
        tasks.cancel_scope.cancel()


async def test_a_receive_that_is_cancelled_already_leases_nothing() -> None:
    bench = Bench()
    async with bench.feed() as feed:
        await bench.publish("a")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await feed.receive(1)
        assert scope.cancelled_caught
        assert (await one(feed)).attempt == 1
