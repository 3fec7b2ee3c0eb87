"""Laws B13 of what is published with an end: after it nobody is handed it, and nobody owes it."""

import anyio
import pytest
from msgspec.structs import replace

from acked import AckSubscription, CapabilityError, Redelivery, VirtualClock
from acked.conformance.harness import Harness
from acked.conformance.law import law, soon
from acked.conformance.laws.likeness import made
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import DAY, JSON, LONG, ack_all, bodies, introduce, place, receive

__all__ = ("ExpiryLaws",)


class ExpiryLaws:
    """The time begins with the publish, is that of one message, and ends it for every group."""

    @law("B13", needs=("publish_expiry",))
    async def test_what_has_expired_is_handed_to_nobody_and_counted(self, harness: Harness) -> None:
        """B13: what has time left, or no end, comes; the rest is settled by who comes to it."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "over", expires=harness.lease / 2)
            await channel.publish(topic, "in time", expires=harness.lease * 100)
            await channel.publish(topic, "for ever")
            await harness.pass_time(harness.lease)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 2)
                assert sorted(map(str, bodies(deliveries))) == ["for ever", "in time"]
                await ack_all(deliveries)
                await expired(sub, 1)
                assert (sub.statistics().delivered, sub.statistics().acked) == (2, 2)
            await nothing_is_owed(channel, topic, group)

    @law("B13", "A8", needs=("publish_expiry", "batch_publish"))
    async def test_each_of_a_batch_has_its_own_end(self, harness: Harness) -> None:
        """B13, A8: beside what has none, in one publish."""
        ends = (0.0, harness.lease / 2, harness.lease * 100)
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, topic, group=group)
            records = [
                made(here, harness, body=body, content_type=JSON) for body in (b"0", b"1", b"2")
            ]
            ending = zip(records, ends, strict=True)
            await channel.layer.publish([replace(one, expires=end) for one, end in ending])
            await harness.pass_time(harness.lease)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                assert bodies(await all_that_is_owed(channel, topic, sub)) == [0, 2]

    @law("B13", "B5", needs=("publish_expiry", "groups"))
    async def test_it_expires_in_each_group_also_in_one_to_come(self, harness: Harness) -> None:
        """B13, B5: and each gets what has time left."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "over", expires=harness.lease / 2)
            await channel.publish(topic, "in time", expires=harness.lease * 100)
            await harness.pass_time(harness.lease)
            groups = (group, harness.group())
            await introduce(channel, topic, group=groups[1])
            for name in groups:
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, topic, sub)
                assert bodies(owed) == ["in time"]
                await nothing_is_owed(channel, topic, name)

    @law("B13", needs=("publish_expiry",))
    async def test_months_are_not_over_at_once(self, harness: Harness) -> None:
        """B13: of ninety days; nor when thirty have passed, where time is virtual."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            for number in range(2):
                await channel.publish(topic, number, expires=90 * DAY)
            for _ in range(2):
                async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                    await ack_all(await receive(sub, 1))
                if isinstance(harness.clock, VirtualClock):
                    await harness.stall(30 * DAY)
            await nothing_is_owed(channel, topic, group)

    @law("B13", needs=("publish_expiry", "nack", "nack_delay"))
    async def test_what_comes_again_after_its_time_is_handed_to_nobody(
        self, harness: Harness
    ) -> None:
        """B13: a nack does not begin the time anew."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "again", expires=harness.lease * 2)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (first,) = await receive(sub, 1)
                await first.nack(delay=harness.lease * 2)
                await harness.pass_time(harness.lease * 3)
                owed = await all_that_is_owed(channel, topic, sub)
                assert bodies(owed) == []
                await expired(sub, 1)

    @law("B13", "A1", needs=("publish_expiry",))
    async def test_what_was_handed_out_in_time_can_be_settled_after_it(
        self, harness: Harness
    ) -> None:
        """B13, A1: a lease holds until it ends, whatever becomes of the message's time."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "in hand", expires=harness.lease)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                await harness.pass_time(harness.lease * 1.5)
                await delivery.ack()
                assert sub.statistics().expired == 0
            await nothing_is_owed(channel, topic, group)

    @law("B13", "D1", needs=("publish_expiry", "dead_letter", "reject"))
    async def test_with_dead_letters_what_has_expired_goes_there(self, harness: Harness) -> None:
        """B13, D1: whole, with its reason, and there it has no end."""
        dead = harness.topic("dead")
        policy = Redelivery(dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await introduce(channel, dead, group=group)
            await channel.publish(topic, "over", id="its-own", expires=harness.lease / 2)
            await harness.pass_time(harness.lease)
            async with channel.subscribe(topic, group=group, lease=LONG, redelivery=policy) as sub:
                owed = await all_that_is_owed(channel, topic, sub)
                assert bodies(owed) == []
                statistics = sub.statistics()
                assert (statistics.dead_lettered, statistics.expired) == (1, 0)
            await harness.pass_time(harness.lease)
            async with channel.subscribe(dead, group=group, lease=LONG) as sub:
                (letter,) = await receive(sub, 1)
                assert letter.body == "over"
                if channel.layer.capabilities.headers:
                    assert letter.headers["acked-reason"] == "expired"
                    assert letter.headers["acked-id"] == "its-own"
                await letter.ack()
            await nothing_is_owed(channel, topic, group)

    @law("B13", unless=("publish_expiry",))
    async def test_an_end_is_refused_where_nobody_sees_to_it(self, harness: Harness) -> None:
        """B13: nothing is published."""
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            with pytest.raises(CapabilityError):
                await here.channel.publish(here.topic, "short", expires=1.0)
            await nothing_is_owed(*here)


async def expired(subscription: AckSubscription[object], count: int) -> None:
    """Return when so many have expired."""
    with anyio.fail_after(soon()):
        while subscription.statistics().expired < count:
            await anyio.sleep(0.01)
