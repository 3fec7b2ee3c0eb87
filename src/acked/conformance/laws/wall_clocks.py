"""Laws C2, C3, C12: somebody sets the wall clock of a client, and no lease and no delay minds."""

import anyio

from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import DAY, lease, place, receive, silent
from acked.types import Settlement, Verb

__all__ = ("WallClockLaws",)


class WallClockLaws:
    """What is promised for so many seconds lasts so long, whatever time of day it becomes."""

    @law("C2", "C3", needs=("lease=timer", "competing", "nack_delay"), hooks=("set_clock",))
    async def test_a_clock_that_is_set_brings_nothing_early_and_nothing_late(
        self, harness: Harness
    ) -> None:
        """C2, C3: delays from before and after it, and a lease; a day forward, and a day back."""
        for error in (DAY, -DAY):
            await ends_in_time(harness, error)

    @law("C12", "B4", needs=("lease=timer", "competing", "extend"), hooks=("set_clock",))
    async def test_a_clock_that_is_set_takes_nothing_from_a_handler(self, harness: Harness) -> None:
        """C12, B4: it is at work for longer than its lease, and another one waits."""
        assert harness.set_clock is not None
        for error in (DAY, -DAY):
            async with place(harness) as (channel, topic, group):
                await channel.publish(topic, "body")
                async with (
                    channel.subscribe(topic, group=group, lease=harness.lease) as sub,
                    channel.subscribe(topic, group=group, lease=harness.lease) as other,
                    anyio.create_task_group() as tasks,
                ):
                    (delivery,) = await receive(sub, 1)
                    tasks.start_soon(anext, other)
                    async with harness.set_clock(error):
                        await harness.pass_time(harness.lease * 1.5)
                        await delivery.ack()
                    assert other.statistics().delivered == 0
                    tasks.cancel_scope.cancel()
                await nothing_is_owed(channel, topic, group, lease=harness.lease)


async def ends_in_time(harness: Harness, error: float) -> None:
    """Set the clock between two delays, in the midst of a lease, and see when each comes."""
    assert harness.set_clock is not None
    came: dict[object, float] = {}
    async with place(harness) as here:
        channel, topic, group = here
        await channel.publish_many(topic, range(3))

        async def read() -> None:
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                while len(came) < 3:
                    (delivery,) = await receive(sub, 1)
                    came[delivery.body] = harness.clock.time() - began
                    await delivery.ack()

        async with silent(here, harness, 3) as feed:
            began = harness.clock.time()
            before, after, held = await lease(feed, 3)
            await feed.settle([Settlement(before.token, Verb.NACK, harness.lease * 0.4)])
            async with anyio.create_task_group() as tasks, harness.set_clock(error):
                await feed.settle([Settlement(after.token, Verb.NACK, harness.lease * 0.6)])
                tasks.start_soon(read)
                await harness.pass_time(harness.lease * 1.2)
            for leased, least in ((before, 0.4), (after, 0.6), (held, 0.95)):
                assert came[int(leased.record.body)] >= harness.lease * least * 0.95
        await nothing_is_owed(channel, topic, group)
