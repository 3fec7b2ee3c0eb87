"""Laws F: flow. What is fetched, how much of it, and what is never dropped."""

import time
from collections.abc import Awaitable
from typing import Final

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from acked import RAW, CapabilityError, Delivery, Overflow, Topic
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    opened,
    place,
    prefetch,
    receive,
    soon,
)

__all__ = ("FlowLaws",)

IDLE: Final = 0.15
"""Seconds of idling that are looked at; a spinning loop burns what the machine has for it."""
LOOKS: Final = 4
"""What the machine has changes, so it is looked at in turns what idling and what spinning gets."""


class FlowLaws:
    """What is fetched, and what is never dropped."""

    @law("F1", needs=("competing",))
    async def test_held_plus_buffered_never_exceeds_in_flight(self, harness: Harness) -> None:
        """F1: what one consumer may not hold is there for another."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, in_flight=3, lease=LONG) as small:
                three = await receive(small, 3)
                async with channel.subscribe(topic, group=group, lease=LONG) as other:
                    seven = await receive(other, 7)
                    assert bodies(three + seven) == list(range(10))
                    statistics = small.statistics()
                    assert statistics.held + statistics.buffered == 3
                    await ack_all(three + seven)

    @law("F1", "F4")
    async def test_a_window_moves_on_as_it_is_settled(self, harness: Harness) -> None:
        """F1, F4: never above the bound at any moment, and all of it gets through."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(60))
            async with channel.subscribe(topic, group=group, in_flight=4, lease=LONG) as sub:
                seen: list[object] = []
                with anyio.fail_after(2 * soon()):
                    while len(seen) < 60:
                        delivery = await anext(sub)
                        statistics = sub.statistics()
                        assert statistics.held + statistics.buffered <= 4
                        seen.append(delivery.body)
                        await delivery.ack()
                assert sorted(seen) == list(range(60))  # type: ignore[type-var]
            await nothing_is_owed(channel, topic, group)

    @law("F1", "F8")
    async def test_acks_flow_while_the_window_is_closed(self, harness: Harness) -> None:
        """F1, F8: a full consumer fetches nothing, and settles all the same."""
        everybody = harness.group()
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=everybody)
            async with channel.subscribe(topic, group=group, in_flight=3, lease=LONG) as small:
                await channel.publish_many(topic, range(9))
                three = await receive(small, 3)
                async with channel.subscribe(topic, group=everybody, lease=LONG) as witness:
                    await ack_all(await receive(witness, 9))  # so they were there to be fetched
                statistics = small.statistics()
                assert (statistics.held, statistics.buffered) == (3, 0)
                with anyio.fail_after(soon()):
                    await three[0].ack()
                    await ack_all(three[1:])
                rest: list[Delivery[object]] = []
                for _ in range(6):
                    rest += (more := await receive(small, 1))
                    await ack_all(more)
                assert bodies(three + rest) == list(range(9))

    @law("F8")
    async def test_a_reader_that_waits_goes_on_when_another_one_settles(
        self, harness: Harness
    ) -> None:
        """F8: the window was full and the reader asleep when there was room again."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with channel.subscribe(topic, group=group, in_flight=2, lease=LONG) as sub:
                held, rest = await receive(sub, 2), list[Delivery[object]]()

                async def read() -> None:
                    rest.extend(await receive(sub, 2))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    with anyio.fail_after(soon()):
                        await wait_all_tasks_blocked()
                    await ack_all(held)
                assert bodies(held + rest) == [0, 1, 2, 3]
                await ack_all(rest)

    @law("F8", "C15")
    async def test_a_batch_that_waits_is_handed_out_when_it_is_full(self, harness: Harness) -> None:
        """F8, C15: most of it was there before; the rest is fetched for who waits for it."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(7))
            async with channel.subscribe(topic, group=group, in_flight=10, lease=LONG) as sub:
                await prefetch(sub, 7)
                sizes: list[int] = []

                async def read() -> None:
                    with anyio.fail_after(soon()):
                        batch = await anext(sub.batches(10, wait=2 * soon()))
                    sizes.append(len(batch))
                    await batch.ack()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    with anyio.fail_after(soon()):
                        await wait_all_tasks_blocked()
                    await channel.publish_many(topic, range(7, 10))
                assert sizes == [10]

    @law("F2")
    async def test_bytes_are_bounded_too(self, harness: Harness) -> None:
        """F2: by `in_flight_bytes`, and one message, once the size of messages is known.

        What is beside a body counts, too, and may be as much as a small body.
        """
        async with place(harness) as (channel, name, group):
            size = min(1000, channel.layer.capabilities.max_payload or 1000)
            limit = size * 7 // 2
            topic = Topic(name, bytes, codec=RAW)
            async with channel.subscribe(
                topic, group=group, in_flight_bytes=limit, lease=LONG
            ) as sub:
                await channel.publish(topic, bytes(size))
                await ack_all(await receive(sub, 1))  # type: ignore[arg-type]
                await channel.publish_many(topic, [bytes(size)] * 12)
                for _ in range(12):
                    (delivery,) = await receive(sub, 1)  # type: ignore[arg-type]
                    assert sub.statistics().open_bytes <= limit + 2 * size
                    await delivery.ack()
                assert sub.statistics().open_bytes == 0

    @law("F3", "F4")
    async def test_what_is_owed_is_not_dropped_so_there_is_no_overflow_policy(
        self, harness: Harness
    ) -> None:
        """F3, F4: the drop policies are refused, and nothing was subscribed."""
        async with opened(harness) as channel:
            for policy in Overflow:
                with pytest.raises(CapabilityError, match="overflow="):
                    channel.subscribe("t", group="g", overflow=policy)  # type: ignore[call-overload]

    @law("F4")
    async def test_nothing_is_dropped_while_the_reader_is_slow(self, harness: Harness) -> None:
        """F4: ten windows of messages behind a reader that has not begun."""
        count = 80
        async with place(harness) as (channel, topic, group):
            async with channel.subscribe(topic, group=group, in_flight=8, lease=LONG) as sub:
                for first in range(0, count, 20):
                    await channel.publish_many(topic, range(first, first + 20))
                seen: set[object] = set()
                with anyio.fail_after(2 * soon()):
                    async for batch in sub.batches(8):
                        seen |= {delivery.body for delivery in batch}
                        await batch.ack()
                        if len(seen) == count:
                            break
                assert seen == set(range(count))
            await nothing_is_owed(channel, topic, group)

    @law("F5")
    async def test_an_idle_subscription_does_not_spin(self, harness: Harness) -> None:
        """F5: it waits; the processor does other things."""
        async with (
            place(harness) as (channel, topic, group),
            channel.subscribe(topic, group=group, lease=LONG) as sub,
        ):
            await channel.publish(topic, "body")
            await ack_all(await receive(sub, 1))
            idle = spun = 0.0
            for _ in range(LOOKS):
                idle += await spent(anext(sub))
                spun += await spent(spin())
            assert idle < spun / 3

    @law("F7", needs=("nack_delay", "out_of_order_ack"))
    async def test_delayed_nacks_do_not_eat_the_window(self, harness: Harness) -> None:
        """F7: a window full of delayed messages lets the next ones in."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(5))
            async with channel.subscribe(topic, group=group, in_flight=2, lease=LONG) as sub:
                delayed = await receive(sub, 2)
                for delivery in delayed:
                    await delivery.nack(delay=LONG)
                others: list[Delivery[object]] = []
                for _ in range(3):
                    others += (more := await receive(sub, 1))
                    await ack_all(more)
                assert bodies(delayed + others) == [0, 1, 2, 3, 4]


async def spent(something: Awaitable[object]) -> float:
    """Return the seconds of the processor that this process takes while it waits for it."""
    before = time.process_time()
    with anyio.move_on_after(IDLE):
        await something
    return time.process_time() - before


async def spin() -> None:
    """Do nothing, again and again."""
    while True:
        await checkpoint()
