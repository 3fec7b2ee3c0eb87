"""Laws C3 of delays: each message has its own, counted from its nack, and it holds up no other."""

from collections.abc import Mapping
from typing import Final

import anyio

from acked import AckSubscription, VirtualClock
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.again import equal, originals
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    introduce,
    lease,
    opened,
    place,
    receive,
    received_when,
    silent,
    soon,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("DelayLaws",)

PARTS: Final = 40
"""Into how many steps a delay is cut where time is virtual: what is late shows by more than one."""


class DelayLaws:
    """A delay is that of one message of one group: it begins with the nack, and ends by itself."""

    @law("C3", needs=("nack_delay", "lease=timer"))
    async def test_a_longer_delay_holds_back_no_shorter_one(self, harness: Harness) -> None:
        """C3: nacked after it, or before it, or with no whole seconds: each comes in its time."""
        unit = harness.lease
        delays = {0: 4.0 * unit, 1: 0.29, 2: 2.3 * unit, 3: 0.7 * unit, 4: 1.3 * unit}
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, list(delays))
            async with silent(here, harness, len(delays)) as feed:
                held = {int(one.record.body): one.token for one in await lease(feed, len(delays))}
                nacked = harness.clock.time()
                await feed.settle(
                    [Settlement(held[n], Verb.NACK, delay=delay) for n, delay in delays.items()]
                )
            async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                came = await moments(harness, sub, len(delays), 4.5 * unit)
            assert came.keys() == delays.keys()
            for number, delay in delays.items():
                assert came[number] - nacked >= delay
            assert list(came) == sorted(delays, key=delays.__getitem__)
            if isinstance(harness.clock, VirtualClock):
                late = 4.5 * unit / PARTS * 2
                assert all(
                    came[number] - nacked <= delay + late for number, delay in delays.items()
                )
            await nothing_is_owed(*here)

    @law("C3", needs=("nack_delay", "lease=timer"))
    async def test_a_delay_is_counted_from_the_nack(self, harness: Harness) -> None:
        """C3: not from the delivery, which was most of a lease before."""
        delay = harness.lease
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                await harness.pass_time(delay * 0.8)
                nacked = harness.clock.time()
                await delivery.nack(delay=delay)
                again, came = await received_when(harness, delay * 1.2, sub)
                assert came - nacked >= delay
                await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C3", "C11", needs=("nack_delay", "extend", "lease=timer"))
    async def test_a_renewal_that_comes_after_the_nack_changes_no_delay(
        self, harness: Harness
    ) -> None:
        """C3, C11: it is told LOST, and the message comes when it was to come."""
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish(topic, "body")
            async with silent(here, harness, 1) as feed:
                (held,) = await lease(feed, 1)
                nacked = harness.clock.time()
                await feed.settle([Settlement(held.token, Verb.NACK, harness.lease / 2)])
                assert await feed.extend([held.token], LONG) == [Outcome.LOST]
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    again, came = await received_when(harness, harness.lease, sub)
                    assert came - nacked >= harness.lease / 2
                    await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C3", "C16", needs=("nack_delay", "attempts", "lease=timer"))
    async def test_a_delay_outlives_the_channel(self, harness: Harness) -> None:
        """C3, C16: closed and opened again, and joined anew: not sooner, and the second attempt."""
        delay = harness.lease * 1.5
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                nacked = harness.clock.time()
                await delivery.nack(delay=delay)
        for _ in range(2):
            async with opened(harness) as channel:
                await introduce(channel, topic, group=group)
        async with opened(harness) as channel:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again, came = await received_when(harness, delay * 1.2, sub)
                assert (again.body, again.attempt) == ("body", 2)
                assert came - nacked >= delay
                await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C3", "B5", needs=("nack_delay", "groups", "lease=timer"))
    async def test_a_delay_of_one_group_delays_no_other(self, harness: Harness) -> None:
        """C3, B5: each group delays for itself; another one has it at once."""
        async with place(harness) as (channel, topic, group):
            others = [harness.group() for _ in range(2)]
            for other in others:
                await introduce(channel, topic, group=other)
            await channel.publish(topic, "body")
            for name in (group, *others):
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    (delivery,) = await receive(sub, 1)
                    assert delivery.attempt == 1
                    await delivery.nack(delay=harness.lease)
            for name in (group, *others):
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    await harness.pass_time(harness.lease * 1.1)
                    # What the others' groups were asked by is owed to this one, too.
                    owed = await all_that_is_owed(channel, topic, sub)
                    assert [delivery.body for delivery in owed] == ["body"]
                await nothing_is_owed(channel, topic, name)

    @law("C3", "C1", "A4", needs=("nack_delay", "lease=timer"))
    async def test_what_was_delayed_comes_once_and_as_it_was(self, harness: Harness) -> None:
        """C3, C1, A4: equal in every field; acked then, it does not come a second time."""
        async with place(harness) as here:
            records = originals(here.topic, harness, here.channel.layer.capabilities)
            await here.channel.layer.publish(records)
            delay = harness.lease / 2
            async with silent(here, harness, len(records)) as feed:
                held = await lease(feed, len(records))
                await feed.settle([Settlement(o.token, Verb.NACK, delay=delay) for o in held])
            await harness.pass_time(delay * 1.2)
            async with silent(here, harness, len(records)) as feed:
                held = await equal(await lease(feed, len(records)), records)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            await harness.pass_time(harness.lease * 2)
            await nothing_is_owed(*here)


async def moments(
    harness: Harness, sub: AckSubscription[object], count: int, seconds: float
) -> Mapping[object, float]:
    """Return when each of `count` bodies came within `seconds`, in the order in which they did."""
    came: dict[object, float] = {}

    async def read() -> None:
        with anyio.fail_after(seconds + 2 * soon()):
            while len(came) < count:
                delivery = await anext(sub)
                came[delivery.body] = harness.clock.time()
                await delivery.ack()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for _ in range(PARTS):
            await harness.pass_time(seconds / PARTS)
    return came
