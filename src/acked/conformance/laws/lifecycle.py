"""Laws G: lifecycle. What opening, cancelling and closing leave behind."""

import asyncio
import random
import sys
import threading
from typing import Final

import anyio
import psutil
import pytest
from anyio.lowlevel import checkpoint

from acked import ChannelClosed, Delivery
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import (
    all_that_is_owed,
    in_claimed_order,
    nothing_is_owed,
)
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    joined,
    opened,
    place,
    receive,
    soon,
)

__all__ = ("LifecycleLaws", "alive", "nothing_is_left")

POOLED: Final = ("AnyIO worker thread", "Trio thread", "asyncio_")
"""How threads are called that a loop keeps for the next one who needs a thread."""


def alive() -> dict[str, int]:
    """Count what a closed channel must not leave: tasks, sockets, threads that are not pooled."""
    process = psutil.Process()
    threads = [t for t in threading.enumerate() if not t.name.startswith(POOLED)]
    sockets = [c for c in process.net_connections() if c.status == psutil.CONN_ESTABLISHED]
    return {
        "tasks": _tasks(),
        "threads": len(threads),
        "sockets": len(sockets),
        "files": len(process.open_files()),
    }


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop of asyncio runs here
        return int(sys.modules["trio"].lowlevel.current_statistics().tasks_living)


class LifecycleLaws:
    """What opening, cancelling and closing leave behind."""

    @law("G1")
    async def test_closing_twice_and_at_once_is_closing(self, harness: Harness) -> None:
        """G1: idempotent, safe when concurrent; readers are told, and it opens again."""
        topic, group = harness.topic(), harness.group()
        channel = opened(harness)
        async with channel, anyio.create_task_group() as tasks:
            reads = anyio.Event()

            async def read() -> None:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    reads.set()
                    with pytest.raises(ChannelClosed):
                        await anext(sub)

            tasks.start_soon(read)
            await reads.wait()
            with anyio.fail_after(soon()):
                async with anyio.create_task_group() as closing:
                    for _ in range(3):
                        closing.start_soon(channel.aclose)
        await channel.aclose()
        async with channel:
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await ack_all(await receive(sub, 1))

    @law("G4")
    async def test_a_closed_channel_leaves_no_task_socket_thread_or_file(
        self, harness: Harness
    ) -> None:
        """G4: after reading, after a break, after a cancellation."""
        before = alive()
        for ending in ("read", "break", "cancel"):
            with anyio.CancelScope() as scope:
                async with place(harness) as (channel, topic, group):
                    await channel.publish_many(topic, range(5))
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        deliveries = await receive(sub, 5 if ending == "read" else 2)
                        if ending == "read":
                            await ack_all(deliveries)
                        if ending == "cancel":
                            scope.cancel()
                            await anyio.sleep_forever()
        await nothing_is_left(before, soon())

    @law("G5")
    async def test_cancelling_a_waiting_read_loses_nothing(self, harness: Harness) -> None:
        """G5: reads cancelled at moments of all kinds while messages arrive."""
        moments = random.Random(5)  # noqa: S311 - not a secret
        got: list[Delivery[object]] = []
        async with place(harness) as (channel, topic, group):
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:

                async def read() -> None:
                    while True:
                        got.append(await anext(sub))

                for number in range(18):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(read)
                        await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                        await channel.publish(topic, number)
                        await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                        tasks.cancel_scope.cancel()
                got += await receive(sub, 18 - len(got))
                assert bodies(got) == list(range(18))
                assert {delivery.attempt for delivery in got} == {1}
                await ack_all(got)
            await nothing_is_owed(channel, topic, group)

    @law("G5")
    async def test_cancelling_a_subscription_loses_nothing(self, harness: Harness) -> None:
        """G5: whole subscriptions, at moments of all kinds: what was fetched comes again."""
        moments = random.Random(7)  # noqa: S311 - not a secret
        rounds, count = 8, 200
        acked: set[object] = set()
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(count))
            for _ in range(rounds):
                with anyio.move_on_after(moments.uniform(0, 0.02)):
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        async for delivery in sub:
                            await delivery.ack()
                            acked.add(delivery.body)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                owed = [d.body for d in await all_that_is_owed(channel, topic, sub)]
            assert acked.isdisjoint(owed)
            # Cancelled between the broker's yes and our note: at most one a round.
            assert count - rounds <= len(acked.union(owed)) == len(acked) + len(owed) <= count
            await nothing_is_owed(channel, topic, group)

    @law("G5")
    async def test_a_subscription_cancelled_at_any_step_loses_nothing(
        self, harness: Harness
    ) -> None:
        """G5: of opening, fetching and reading; nothing was acked, so everything comes again.

        A connection that was given up while it was made may still end the next one of its name.
        """
        steps, count = 12, 10
        held: list[Delivery[object]] = []
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(count))

            async def read() -> None:
                async with joined(channel, topic, group) as sub:
                    async for delivery in sub:
                        held.append(delivery)  # noqa: PERF401 - kept also when cancelled

            for step in range(steps):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    for _ in range(step):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
            can = channel.layer.capabilities
            async with joined(channel, topic, group) as sub:
                again = await receive(sub, count)
                assert bodies(again) == list(range(count))
                if can.attempts and can.release:
                    assert {delivery.attempt for delivery in again} == {1}
                await ack_all(again)
            await nothing_is_owed(channel, topic, group)

    @law("G7")
    async def test_leaving_sends_the_acks_that_were_queued(self, harness: Harness) -> None:
        """G7: pipelined acks leave before the consumer does."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(20))
            async with channel.subscribe(topic, group=group, lease=LONG, confirm_acks=False) as sub:
                await ack_all(await receive(sub, 20))
            assert sub.statistics().acked == 20
            await nothing_is_owed(channel, topic, group)

    @law("G8", needs=("groups",))
    async def test_cancelling_one_subscription_leaves_the_others_alone(
        self, harness: Harness
    ) -> None:
        """G8: of two on one channel, one is cancelled while the other one waits."""
        topic, group, other_group = harness.topic(), harness.group(), harness.group()
        async with opened(harness) as channel, anyio.create_task_group() as tasks:
            await introduce(channel, topic, group=group)
            opens = anyio.Event()

            async def read_for_ever() -> None:
                async with channel.subscribe(topic, group=other_group, lease=LONG) as sub:
                    opens.set()
                    async for delivery in sub:
                        await delivery.ack()

            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                tasks.start_soon(read_for_ever)
                await opens.wait()
                await channel.publish(topic, 0)
                first = await receive(sub, 1)
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await channel.publish(topic, 1)
                    second = await receive(sub, 1)
                    assert bodies(first + second) == [0, 1]
                    await ack_all(first + second)

    @law("G9", needs=("groups",))
    async def test_joining_and_leaving_at_once_makes_nobody_deaf(self, harness: Harness) -> None:
        """G9: groups that come and go on one topic: who has joined gets what comes after."""
        groups = [harness.group() for _ in range(4)]
        topic = harness.topic()
        joined = 0
        everybody = anyio.Event()
        async with opened(harness) as channel, anyio.create_task_group() as tasks:

            async def come_and_go(number: int) -> None:
                nonlocal joined
                if number % 2:
                    await introduce(channel, topic, group=groups[number])
                async with channel.subscribe(topic, group=groups[number], lease=LONG) as sub:
                    joined += 1
                    if joined == len(groups):
                        everybody.set()
                    deliveries = await receive(sub, 3)
                    got = [delivery.body for delivery in deliveries]
                    assert in_claimed_order(channel.layer.capabilities, got, [0, 1, 2])
                    await ack_all(deliveries)

            for number in range(len(groups)):
                tasks.start_soon(come_and_go, number)
            with anyio.fail_after(2 * soon()):
                await everybody.wait()
            await channel.publish_many(topic, range(3))


async def nothing_is_left(before: dict[str, int], within: float) -> None:
    """Return when no more is alive than `before`: a socket's closing is seen a moment later."""
    with anyio.move_on_after(within):
        while _more(alive(), before):
            await anyio.sleep(0.01)
    assert not _more(alive(), before)


def _more(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in now.items() if count > before[name]}
