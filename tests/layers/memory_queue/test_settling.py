"""How messages of the memory queue are settled, and come again."""

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked.abc import AckLayer, LagFeed, LayerFactory
from acked.clocks import SystemClock
from acked.errors import LayerError
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Record, Settlement, Verb
from tests.layers.queue_bench import (
    CONFIRMED,
    LEASE,
    LOST,
    Bench,
    ids,
    nothing,
    one,
    settle,
    start,
)

if TYPE_CHECKING:
    _layer: type[AckLayer] = MemoryQueueLayer
    _factory: LayerFactory = MemoryQueueLayer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestSettling:
    async def test_acked_and_rejected_records_never_come_again(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a", "b")
            assert await settle(feed, Verb.ACK, await one(feed)) == [CONFIRMED]
            assert await settle(feed, Verb.REJECT, await one(feed)) == [CONFIRMED]
            bench.clock.advance(10 * LEASE)
            assert await nothing(feed)
        async with bench.feed() as feed:
            assert await nothing(feed)

    async def test_a_nacked_record_comes_again_at_once_with_the_attempt_charged(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a")
            for attempt in (1, 2, 3):
                held = await one(feed)
                assert held.attempt == attempt
                assert await settle(feed, Verb.NACK, held) == [CONFIRMED]

    async def test_a_delayed_nack_comes_when_its_delay_is_over_and_not_before(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a")
            await settle(feed, Verb.NACK, await one(feed), delay=5.0)
            bench.clock.advance(4.9)
            assert await nothing(feed)
            bench.clock.advance(0.1)
            assert (await one(feed)).attempt == 2

    async def test_delayed_records_come_in_the_order_of_their_delays(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a", "b", "c")
            for delay in (3.0, 1.0, 2.0):
                await settle(feed, Verb.NACK, await one(feed), delay=delay)
            order: list[str] = []
            for _ in range(3):
                bench.clock.advance(1.0)
                order += await ids(feed)
        assert order == ["b", "c", "a"]

    async def test_what_comes_again_takes_its_original_place(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a", "b", "c", "d", "e")
            a, b, c = await feed.receive(3)
            await settle(feed, Verb.NACK, c, a)
            await feed.release([b.token])
            assert await ids(feed) == ["a", "b", "c", "d", "e"]

    async def test_a_lease_that_ended_comes_again_and_its_holder_has_lost_it(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a")
            stale = await one(feed)
            bench.clock.advance(LEASE - 0.1)
            assert await nothing(other)
            bench.clock.advance(0.1)
            held = await one(other)
            assert (held.record.id, held.attempt) == ("a", 2)
            for verb in Verb:
                assert await settle(feed, verb, stale) == [LOST]
            assert await feed.extend([stale.token], LEASE) == [LOST]
            await feed.release([stale.token])
            assert await nothing(feed)
            assert await settle(other, Verb.ACK, held) == [CONFIRMED]

    @pytest.mark.parametrize("verb", Verb)
    async def test_a_lease_that_is_over_is_its_holders_until_another_one_looks(
        self, verb: Verb
    ) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a")
            late = await one(feed)
            bench.clock.advance(2 * LEASE)
            assert await settle(feed, verb, late) == [CONFIRMED]

    async def test_a_consumer_never_takes_from_itself_what_it_holds(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a", "b")
            late, late_too = await feed.receive(2)
            bench.clock.advance(2 * LEASE)
            assert await nothing(feed)
            assert await feed.extend([late.token], LEASE) == [CONFIRMED]
            held = await one(other)
            assert (held.record.id, held.attempt) == ("b", 2)
            assert await settle(feed, Verb.ACK, late, late_too) == [CONFIRMED, LOST]

    async def test_a_lease_that_its_holder_saw_end_wakes_whoever_waits(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a")
            await one(feed)
            async with anyio.create_task_group() as tasks:
                got = start(tasks, other)
                mine = start(tasks, feed)  # the last to fall asleep, and the holder
                await wait_all_tasks_blocked()
                bench.clock.advance(LEASE)
                await wait_all_tasks_blocked()
                assert (got, mine) == (["a"], [])
                tasks.cancel_scope.cancel()

    async def test_the_feed_tells_when_it_leased_and_how_far_it_is_behind(self) -> None:
        bench = Bench()
        async with bench.feed("t", "u") as feed:
            await bench.publish("a", "b", "c")
            await bench.publish("d", topic="u")
            bench.clock.advance(5.0)
            assert isinstance(feed, LagFeed)
            assert feed.lag() == 4
            before = SystemClock().time()
            held = await feed.receive(3)
            assert feed.lag() == 1
            assert before <= vars(feed)["leased_at"] <= SystemClock().time()
            bench.clock.advance(1.0)
            await feed.release([held[0].token])
            await bench.publish("e")  # also while nobody receives
            assert feed.lag() == 2

    async def test_an_earlier_lease_of_the_same_consumer_is_stale_too(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a")
            stale = await one(feed)
            await settle(feed, Verb.NACK, stale)
            held = await one(feed)
            assert await settle(feed, Verb.ACK, stale, held) == [LOST, CONFIRMED]

    async def test_a_token_of_another_consumer_changes_nothing(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed(group="h") as other:
            await bench.publish("a")
            held, _ = await one(feed), await one(other)
            assert await settle(other, Verb.ACK, held) == [LOST]
            assert await settle(feed, Verb.ACK, held) == [CONFIRMED]

    async def test_extending_moves_the_end_and_charges_no_attempt(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a", "b")
            a, b = await feed.receive(2)
            bench.clock.advance(20.0)
            assert await feed.extend([a.token, a.token, "strange"], LEASE) == [
                CONFIRMED,
                CONFIRMED,
                LOST,
            ]
            assert await feed.extend([b.token], 1.0) == [CONFIRMED]
            bench.clock.advance(1.0)
            async with bench.feed() as other:
                assert await ids(other) == ["b"]
                bench.clock.advance(28.9)
                assert await nothing(other)
                bench.clock.advance(0.1)
                again = await one(other)
            assert (again.record.id, again.attempt) == ("a", 2)

    async def test_extending_for_ever_keeps_no_more_than_it_must(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish("a")
            held = await one(feed)
            for _ in range(1000):
                bench.clock.advance(0.01)
                await feed.extend([held.token], LEASE)
            (queue,) = feed._queues  # type: ignore[attr-defined]
            assert len(queue._ends) <= 100

    async def test_a_released_record_is_free_at_once_with_the_same_attempt(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a")
            await settle(feed, Verb.NACK, await one(feed))
            held = await one(feed)
            await feed.release([held.token, "strange"])
            again = await one(other)
            assert held.attempt == again.attempt == 2
            assert await settle(feed, Verb.ACK, held) == [LOST]

    async def test_leaving_with_messages_gives_them_back_at_once_and_charges_them(self) -> None:
        bench = Bench()
        async with bench.feed() as other:
            async with bench.feed() as feed:
                await bench.publish("a")
                held = await one(feed)
            again = await one(other)
            assert (again.record.id, again.attempt) == ("a", 2)
            assert await settle(feed, Verb.ACK, held) == [LOST]

    async def test_a_rejected_record_is_in_the_dead_letter_topic(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed("dead") as graveyard:
            await bench.publish("a")
            held = await one(feed)
            letter = Settlement(held.token, Verb.REJECT, dead_letter=Record("dead", b"", "a-dead"))
            assert await feed.settle([letter]) == [CONFIRMED]
            assert await ids(graveyard) == ["a-dead"]
            assert await feed.settle([letter]) == [LOST]
            assert await nothing(graveyard)

    async def test_a_dead_letter_that_finds_no_room_leaves_the_original_owed(self) -> None:
        bench = Bench(max_backlog=1)
        async with bench.feed() as feed:
            await bench.publish("a")
            await bench.publish("in the way", topic="dead")
            held = await one(feed)
            letter = Settlement(held.token, Verb.REJECT, dead_letter=Record("dead", b"", "a-dead"))
            (refused,) = await feed.settle([letter])
            assert isinstance(refused, LayerError)
            assert refused.may_pass
            assert "'dead' keeps 1 that a group has not settled" in str(refused)
            assert await nothing(feed)
            assert await settle(feed, Verb.ACK, held) == [CONFIRMED]
