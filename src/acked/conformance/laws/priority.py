"""Laws B14 of what is published with a priority: of what is free the highest comes first."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from acked import AckSubscription, CapabilityError
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.likeness import made
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import JSON, LONG, introduce, lease, place, receive, silent
from acked.types import Settlement, Verb

__all__ = ("PriorityLaws",)


class PriorityLaws:
    """Among equals the order is that of publishing; a priority is kept until it is settled."""

    @law("B14", needs=("publish_priority",))
    async def test_of_what_is_free_the_highest_priority_comes_first(self, harness: Harness) -> None:
        """B14: also before what was published earlier; equals are in their order."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            for name, priority in ("a", 0), ("b", 5), ("c", 255), ("d", 0), ("e", 5), ("f", 1):
                await channel.publish(topic, name, priority=priority)
            async with channel.subscribe(topic, group=group, in_flight=2, lease=LONG) as sub:
                assert await in_turn(sub, 6) == [*"cbefad"]
            await nothing_is_owed(channel, topic, group)

    @law("B14", "B5", needs=("publish_priority", "groups"))
    async def test_a_priority_holds_for_each_group_also_for_one_to_come(
        self, harness: Harness
    ) -> None:
        """B14, B5: and each has each message once."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            for name, priority in ("a", 0), ("b", 5), ("c", 0), ("d", 9):
                await channel.publish(topic, name, priority=priority)
            groups = (group, harness.group())
            await introduce(channel, topic, group=groups[1])
            for name in groups:
                async with channel.subscribe(topic, group=name, in_flight=1, lease=LONG) as sub:
                    assert await in_turn(sub, 4) == [*"dbac"]
                await nothing_is_owed(channel, topic, name)

    @law("B14", needs=("publish_priority", "nack", "release"))
    async def test_what_comes_back_keeps_its_priority(self, harness: Harness) -> None:
        """B14: by a nack, and by a release."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            for name, priority in ("low", 0), ("high", 7), ("low too", 0):
                await channel.publish(topic, name, priority=priority)
            for give_back in ("nack", "release"):
                async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                    (first,) = await receive(sub, 1)
                    assert first.body == "high"
                    await (first.nack() if give_back == "nack" else first.release())
            async with channel.subscribe(topic, group=group, in_flight=2, lease=LONG) as sub:
                for delivery in await receive(sub, 2):  # also beside an earlier one that comes back
                    await delivery.nack()
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                assert await in_turn(sub, 3) == ["high", "low", "low too"]
            await nothing_is_owed(channel, topic, group)

    @law("B14", "C3", "C2", needs=("publish_priority", "nack_delay", "lease=timer", "competing"))
    async def test_a_priority_outlives_a_backoff_and_a_holder(self, harness: Harness) -> None:
        """B14, C3, C2: after a nack with a delay, and after a lease that ended."""
        for way in ("backoff", "end"):
            async with place(harness) as here:
                channel, topic, group = here
                await introduce(channel, topic, group=group)
                for name, priority in ("low", 1), ("high", 7), ("low too", 1):
                    await channel.publish(topic, name, priority=priority)
                async with silent(here, harness, 1) as feed:
                    (held,) = await lease(feed, 1)
                    if way == "backoff":
                        await feed.settle([Settlement(held.token, Verb.NACK, harness.lease / 4)])
                    await harness.pass_time(harness.lease * (0.5 if way == "backoff" else 1.5))
                    async with channel.subscribe(
                        topic, group=group, in_flight=1, lease=LONG
                    ) as sub:
                        assert await in_turn(sub, 3) == ["high", "low", "low too"]
                await nothing_is_owed(channel, topic, group)

    @law("B14", "A8", needs=("publish_priority", "batch_publish"))
    async def test_each_of_a_batch_has_its_own_priority(self, harness: Harness) -> None:
        """B14, A8: in one publish."""
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, topic, group=group)
            records = [
                made(here, harness, body=body, content_type=JSON) for body in (b"0", b"9", b"5")
            ]
            await channel.layer.publish([replace(one, priority=int(one.body)) for one in records])
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                assert await in_turn(sub, 3) == [9, 5, 0]

    @law("B14", needs=("publish_priority", "publish_delay"))
    async def test_what_was_delayed_has_its_priority_when_it_is_due(self, harness: Harness) -> None:
        """B14: and holds nothing up before."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "later", priority=9, delay=harness.lease)
            for name in "abc":
                await channel.publish(topic, name, priority=1)
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                assert await in_turn(sub, 1) == ["a"]
            await harness.pass_time(harness.lease * 1.2)
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                assert await in_turn(sub, 3) == ["later", "b", "c"]
            await nothing_is_owed(channel, topic, group)

    @law("B14", needs=("publish_priority", "batch_publish"))
    async def test_the_highest_comes_before_a_thousand_that_wait(self, harness: Harness) -> None:
        """B14: and is found among them, not in a page of them."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(1_000))
            await channel.publish(topic, "high", priority=1)
            async with channel.subscribe(topic, group=group, in_flight=10, lease=LONG) as sub:
                assert await in_turn(sub, 3) == ["high", 0, 1]

    @law("B14", unless=("publish_priority",))
    async def test_a_priority_is_refused_where_there_is_one_order(self, harness: Harness) -> None:
        """B14: nothing is published."""
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            with pytest.raises(CapabilityError):
                await here.channel.publish(here.topic, "first", priority=9)
            await nothing_is_owed(*here)


async def in_turn(subscription: AckSubscription[object], count: int) -> Sequence[object]:
    """Return the next `count` bodies, each acknowledged before the next is read."""
    found: list[object] = []
    for _ in range(count):
        (delivery,) = await receive(subscription, 1)
        found.append(delivery.body)
        await delivery.ack()
    return found
