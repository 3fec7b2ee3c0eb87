"""Laws of conduct: closing, sharing, extensions that hold, and values that cannot be."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import AckedError, ChannelClosed, Delivery, Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    opened,
    place,
    prefetch,
    receive,
    soon,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("ConductLaws",)

WORKERS: Final = 4
WORK: Final = 80
STEPS: Final = 14


class ConductLaws:
    """How consumers get on with one another, and how they end."""

    @law("F9", needs=("competing",))
    async def test_consumers_of_equal_speed_share_what_waits(self, harness: Harness) -> None:
        """F9: four of them; none gets less than half of its share, since one took it all."""
        handled = [0] * WORKERS
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(WORK))
            everything = anyio.Event()

            async def work(number: int) -> None:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    async for delivery in sub:
                        clock = harness.clock
                        await clock.sleep_until(clock.time() + harness.lease / 8)
                        await delivery.ack()
                        handled[number] += 1
                        if sum(handled) == WORK:
                            everything.set()

            async with anyio.create_task_group() as tasks:
                for number in range(WORKERS):
                    tasks.start_soon(work, number)
                with anyio.fail_after(4 * soon()):
                    while sum(handled) < WORK:
                        await harness.pass_time(harness.lease / 4)
                tasks.cancel_scope.cancel()
            assert min(handled) >= WORK / WORKERS / 2, handled
            await nothing_is_owed(channel, topic, group)

    @law("C21", "C11", needs=("extend", "lease=timer", "competing"))
    async def test_a_renewal_does_not_cut_an_extension_short(self, harness: Harness) -> None:
        """C21, C11: extended by six leases, then nobody has a turn for three."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(
                topic, group=group, in_flight=1, lease=harness.lease
            ) as sub:
                (held,) = await receive(sub, 1)
                await held.extend(harness.lease * 6)
                await harness.pass_time(harness.lease)
                await harness.stall(harness.lease * 3)
                async with channel.subscribe(topic, group=group, lease=LONG) as other:
                    await channel.publish(topic, "next")
                    (first,) = await receive(other, 1)
                    assert first.body == "next", "what was extended is another one's"
                    await first.ack()
                await held.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C20", "C9", hooks=("cut_after",))
    async def test_a_settlement_that_is_tried_again_is_decided_truly(
        self, harness: Harness
    ) -> None:
        """C20, C9: its answer was cut off; done is CONFIRMED, and LOST comes again."""
        assert harness.cut_after is not None
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as feed:
                (leased,) = await lease(feed, 1)
                await harness.cut_after(1, "to_client")
                reply: object = Outcome.UNKNOWN
                with anyio.fail_after(harness.recovery + 2 * soon()):
                    while reply is Outcome.UNKNOWN or isinstance(reply, Exception):
                        (reply,) = await feed.settle([Settlement(leased.token, Verb.ACK)])
                        await anyio.sleep(0.05)
            if reply is Outcome.LOST:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    await ack_all(await receive(sub, 1))
            if channel.layer.capabilities.confirmed_ack:
                await nothing_is_owed(channel, topic, group)

    @law("G11", needs=("competing", "release", "attempts"))
    async def test_closing_gives_back_at_once_and_hands_out_nothing_more(
        self, harness: Harness
    ) -> None:
        """G11: what nobody saw is another one's while the reader is busy with what it has."""
        topic, group = harness.topic(), harness.group()
        channel = opened(harness)
        prefetched, leave = anyio.Event(), anyio.Event()
        held: list[Delivery[object]] = []

        async def hold() -> None:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                held.extend(await receive(sub, 1))
                await prefetch(sub, 5)
                prefetched.set()
                await leave.wait()
                with pytest.raises(ChannelClosed):
                    await anext(sub)
                await ack_all(held)

        async with opened(harness) as other, channel, anyio.create_task_group() as tasks:
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(6))
            tasks.start_soon(hold)
            with anyio.fail_after(2 * soon()):
                await prefetched.wait()
            tasks.start_soon(channel.aclose)
            async with other.subscribe(topic, group=group, lease=LONG) as sub:
                got = await receive(sub, 5)
                assert {delivery.attempt for delivery in got} == {1}
                leave.set()
                assert bodies(got + held) == list(range(6))
                await ack_all(got)
        async with opened(harness) as channel:
            await nothing_is_owed(channel, topic, group)

    @law("G12", "G6")
    async def test_closing_while_somebody_subscribes_leaves_nobody_waiting(
        self, harness: Harness
    ) -> None:
        """G12, G6: at any step of it; who reads is told, and does not wait for ever."""
        topic, group = harness.topic(), harness.group()
        async with opened(harness) as channel:
            await introduce(channel, topic, group=group)
        for step in range(STEPS):
            channel = opened(harness)

            async def read(channel: Any = channel) -> None:
                with pytest.raises(AckedError):
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        await anext(sub)

            async with channel:
                with anyio.fail_after(2 * soon()):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(read)
                        for _ in range(step):
                            await checkpoint()
                        await channel.aclose()

    @law("J1")
    async def test_a_value_that_cannot_be_is_refused_at_the_call(self, harness: Harness) -> None:
        """J1: no number, negative, endless; the delivery and its neighbours are as they were."""
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            subscribe = partial(channel.subscribe, topic, group=group)
            for refused in (
                partial(subscribe, lease=math.nan),
                partial(subscribe, in_flight=0),
                partial(subscribe, in_flight_bytes=-1),
            ):
                with pytest.raises((AckedError, ValueError)):
                    refused()
            await channel.publish_many(topic, range(2))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                one, other = await receive(sub, 2)
                for seconds in (math.nan, math.inf, -1.0):
                    calls: list[Callable[[], Awaitable[None]]] = []
                    if can.nack_delay:
                        calls.append(lambda seconds=seconds: one.nack(delay=seconds))  # type: ignore[misc]
                    if can.extend:
                        calls.append(lambda seconds=seconds: one.extend(seconds))  # type: ignore[misc]
                    for call in calls:
                        with pytest.raises((AckedError, ValueError)):
                            await call()
                assert sub.statistics().held == 2
                await ack_all([one, other])
            await nothing_is_owed(channel, topic, group)
