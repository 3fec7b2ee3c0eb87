"""Laws H2, H5 of more than one: after a cut every topic and every subscription goes on."""

from contextlib import suppress
from typing import Final

import anyio

from acked import Delivery, LayerError
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.fault_steps import PATIENCE, Account, published
from acked.conformance.laws.owed import everybody_waits, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    introduce,
    joined,
    opened,
    place,
    receive,
    received_when,
)

__all__ = ("ReconnectLaws",)

CUTS: Final = 2


class ReconnectLaws:
    """A connection carries many things; each of them is there again over the next one."""

    @law("H2", "B8", needs=("groups",), hooks=("cut",))
    async def test_every_topic_of_every_subscription_goes_on_after_a_cut(
        self, harness: Harness
    ) -> None:
        """H2, B8: three topics in one, one of them in another group too, and nobody is awake."""
        assert harness.cut is not None
        topics, groups = [harness.topic() for _ in range(3)], [harness.group() for _ in range(2)]
        async with opened(harness) as channel:
            await introduce(channel, *topics, group=groups[0])
            await introduce(channel, topics[1], group=groups[1])
            one, two = Account(channel), Account(channel)
            async with (
                channel.subscribe(*topics, group=groups[0], lease=harness.lease) as all_of_them,
                channel.subscribe(topics[1], group=groups[1], lease=harness.lease) as second,
            ):
                for turn in range(CUTS):
                    wanted: set[object] = {f"{topic} {turn}" for topic in topics}
                    theirs: set[object] = {f"{topics[1]} {turn}"}
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(one.settle_until, all_of_them, wanted)
                        tasks.start_soon(two.settle_until, second, theirs)
                        await everybody_waits()
                        await harness.cut()
                        for topic in reversed(topics):
                            await published(channel, topic, f"{topic} {turn}")

    @law("H2", "C3", "C16", needs=("nack_delay", "attempts", "lease=timer"), hooks=("cut",))
    async def test_a_delay_and_its_attempt_outlive_a_cut(self, harness: Harness) -> None:
        """H2, C3, C16: not sooner, not lost, and counted once."""
        assert harness.cut is not None
        delay = harness.lease * 2
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(2))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second = await receive(sub, 2)
                nacked = harness.clock.time()
                await first.nack(delay=delay)
                await second.ack()
                await harness.cut()
                again, came = await received_when(harness, delay * 1.2, sub)
                assert (again.id, again.attempt) == (first.id, 2)
                assert came - nacked >= delay
                await ack_all([again])
            async with joined(channel, topic, group):
                pass
            await nothing_is_owed(channel, topic, group)

    @law("H5", hooks=("wipe",))
    async def test_what_is_published_once_after_a_wipe_comes_or_is_told(
        self, harness: Harness
    ) -> None:
        """H5: it was accepted when all was new: its consumer gets it, or an error."""
        assert harness.wipe is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            await channel.publish(topic, "before")
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                await ack_all(await receive(sub, 1))
                await harness.wipe(topic)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(published, channel, topic, "once")
                    with suppress(LayerError):  # loud
                        await account.settle_until(sub, {"once"})
                    tasks.cancel_scope.cancel()

    @law("H1", "C7", needs=("confirmed_ack",), hooks=("fall_back",))
    async def test_after_a_failover_that_lost_writes_all_that_is_there_comes(
        self, harness: Harness
    ) -> None:
        """H1, C7: also what takes the place of something lost; what was held before is stale."""
        assert harness.fall_back is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            await channel.publish_many(topic, range(2))
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                await account.settle((await receive(sub, 1))[0])
                stale: list[Delivery[object]] = []
                async with harness.fall_back():
                    await published(channel, topic, "lost")
                    with anyio.fail_after(PATIENCE):
                        while not any(one.body == "lost" for one in stale):
                            stale.append(await anext(sub))
                await published(channel, topic, "new")
                for delivery in stale:
                    with suppress(LayerError):
                        await account.settle(delivery)
                await account.settle_until(sub, {1, "new"})
            await nothing_is_owed(channel, topic, group)
