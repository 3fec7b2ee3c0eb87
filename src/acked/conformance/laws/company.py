"""Laws A1, C1, C2, C3, C11, C12, C15: among others that are alike, among new ones, and for long.

What is done with a message is done with that one, whatever it looks like, and whatever comes after.
"""

from typing import Final

import anyio

from acked import AckSubscription, VirtualClock
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.likeness import made
from acked.conformance.laws.owed import everybody_waits, nothing_is_owed
from acked.conformance.laws.steps import (
    DAY,
    LONG,
    Place,
    ack_all,
    bodies,
    lease,
    place,
    receive,
    receive_while_passes,
    silent,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("CompanyLaws",)

NEW: Final = 500
"""How many that are new may come before what came back."""
HOUR: Final = 3600.0


class CompanyLaws:
    """No message is taken for another one, and none is forgotten over those that are new."""

    @law("C3", "A1", needs=("nack_delay",))
    async def test_equal_ones_that_are_delayed_all_come(self, harness: Harness) -> None:
        """C3, A1: four of the same body, two for as long, two for longer."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, ["same"] * 4)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                for number, delivery in enumerate(await receive(sub, 4)):
                    await delivery.nack(delay=harness.lease * (0.3 if number < 2 else 0.6))
                again = await receive_while_passes(harness, harness.lease, sub, 4)
                assert bodies(again) == ["same"] * 4
                await ack_all(again)
            await nothing_is_owed(channel, topic, group)

    @law("C15", "A1", needs=("nack",))
    async def test_messages_of_one_id_are_settled_each_its_own_way(self, harness: Harness) -> None:
        """C15, A1: four in one call; an id is a publisher's, and no two need differ."""
        async with place(harness) as here:
            records = [made(here, harness, body=b"%d" % number, id="one") for number in range(4)]
            await here.channel.layer.publish(records)
            async with silent(here, harness, 4) as feed:
                held = {int(one.record.body): one for one in await lease(feed, 4)}
                verbs = enumerate((Verb.ACK, Verb.NACK, Verb.ACK, Verb.NACK))
                await feed.settle([Settlement(held[number].token, verb) for number, verb in verbs])
                again = await lease(feed, 2)
                assert sorted(int(one.record.body) for one in again) == [1, 3]
                await feed.settle([Settlement(one.token, Verb.ACK) for one in again])
            await nothing_is_owed(*here)

    @law("C2", "C3", needs=("nack",))
    async def test_what_was_nacked_comes_although_what_is_new_never_ends(
        self, harness: Harness
    ) -> None:
        """C2, C3: there is always something that was never delivered; it is not always first."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(20))
            async with here.channel.subscribe(
                here.topic, group=here.group, in_flight=4, lease=LONG
            ) as sub:
                (first,) = await receive(sub, 1)
                await first.nack()
                await comes_among_new_ones(here, harness, sub, first.body)

    @law("C2", "H4", needs=("lease=timer", "competing"))
    async def test_what_the_dead_held_comes_although_what_is_new_never_ends(
        self, harness: Harness
    ) -> None:
        """C2, H4: whoever consumes looks for what the dead have left, not only who is idle."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(20))
            async with silent(here, harness, 1) as dead:
                (held,) = await lease(dead, 1)
                async with here.channel.subscribe(
                    here.topic, group=here.group, in_flight=4, lease=LONG
                ) as sub:
                    await comes_among_new_ones(here, harness, sub, int(held.record.body))

    @law("C12", "C11", needs=("extend", "lease=timer", "competing"))
    async def test_an_extension_is_never_the_last_one(self, harness: Harness) -> None:
        """C12, C11: for days, where time is virtual; elsewhere for some leases."""
        is_virtual = isinstance(harness.clock, VirtualClock)
        span, times = (HOUR, 50) if is_virtual else (harness.lease, 4)
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish(topic, "body")
            async with (
                silent(here, harness, 1) as feed,
                channel.subscribe(topic, group=group, lease=LONG) as other,
                anyio.create_task_group() as tasks,
            ):
                (held,) = await lease(feed, 1)
                tasks.start_soon(anext, other)
                await everybody_waits()
                for _ in range(times):
                    assert await feed.extend([held.token], span) == [Outcome.CONFIRMED]
                    await (harness.stall if is_virtual else harness.pass_time)(span / 2)
                    await harness.pass_time(0)  # in which the other one looks
                assert other.statistics().delivered == 0, "another one has what was extended"
                assert await feed.settle([Settlement(held.token, Verb.ACK)]) != [Outcome.LOST]
                tasks.cancel_scope.cancel()
            await nothing_is_owed(channel, topic, group)

    @law("C2", "C1")
    async def test_what_is_owed_waits_for_who_comes_back(self, harness: Harness) -> None:
        """C2, C1: for a month, where time is virtual; what was acked before stays so."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with channel.subscribe(topic, group=group, in_flight=4, lease=LONG) as sub:
                first, _ = await receive(sub, 2)
                await first.ack()
            if isinstance(harness.clock, VirtualClock):
                await harness.stall(30 * DAY)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                got = await receive(sub, 3)
                assert bodies(got) == [body for body in range(4) if body != first.body]
                await ack_all(got)
            await nothing_is_owed(channel, topic, group)


async def comes_among_new_ones(
    here: Place, harness: Harness, sub: AckSubscription[object], body: object
) -> None:
    """Publish one for each that comes, until it is `body` that comes: among so many."""
    for _ in range(NEW):
        await here.channel.publish(here.topic, "new")
        (delivery,) = await receive(sub, 1)
        await delivery.ack()
        if delivery.body == body:
            return
        await harness.pass_time(harness.lease / 50)
    raise AssertionError(f"{NEW} that are new came, and what had come back did not")
