"""Laws B: delivery. Who gets what, and from where on."""

import time
from collections import Counter
from typing import Final

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import AckSubscription, CapabilityError, Delivery, Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import (
    all_that_is_owed,
    asleep,
    in_claimed_order,
    nothing_is_owed,
)
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    opened,
    place,
    publish_perhaps_to_nobody,
    receive,
    soon,
)

__all__ = ("DeliveryLaws",)

APART: Final = 0.05
"""Seconds between two publishes that a start in between must tell apart."""


class DeliveryLaws:
    """Each group gets each message of its topics, from where it was told, and nothing else."""

    @law("B1", "B2")
    async def test_a_consumer_gets_its_topics_and_nothing_else(self, harness: Harness) -> None:
        """B1, B2: topics whose names are prefixes of one another, two of them in one group."""
        stem, group = harness.topic(), harness.group()
        names = [stem, f"{stem}x", f"{stem}.x", f"{stem}-x", f"{stem[:-1]}"]
        mine = names[:2]
        async with opened(harness) as channel:
            await introduce(channel, *mine, group=group)
            for name in names:
                await publish_perhaps_to_nobody(channel, name, [[name, n] for n in range(5)])
            async with channel.subscribe(*mine, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 10)
                assert sorted((d.topic, d.body) for d in deliveries) == sorted(
                    (name, [name, n]) for name in mine for n in range(5)
                )
                await ack_all(deliveries)
                for name in reversed(names):
                    await publish_perhaps_to_nobody(channel, name, ["sentinel"])
                first, second = await receive(sub, 2)
                assert {first.topic, second.topic} == set(mine)
                assert first.body == second.body == "sentinel"
                await ack_all([first, second])

    @law("B2", "B5", needs=("groups",))
    async def test_what_one_group_settles_is_owed_to_another(self, harness: Harness) -> None:
        """B2, B5: a group's acks, nacks and rejections are its own; so are its attempts."""
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            longer = f"{group}x"
            await introduce(channel, topic, group=longer)
            await channel.publish_many(topic, range(4))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second, *others = await receive(sub, 4)
                await (first.reject() if can.reject else first.ack())
                if can.nack:
                    await second.nack()
                    (second,) = await receive(sub, 1)
                await ack_all([second, *others])
            async with channel.subscribe(topic, group=longer, lease=LONG) as sub:
                theirs = await receive(sub, 4)
                assert in_claimed_order(can, [d.body for d in theirs], range(4))
                assert {d.attempt for d in theirs} == {1}
                await ack_all(theirs)
            await nothing_is_owed(channel, topic, group)
            async with channel.subscribe(topic, group=longer, lease=LONG) as sub:
                assert await all_that_is_owed(channel, topic, sub) == []

    @law("B4", needs=("competing",))
    async def test_a_message_has_one_holder_at_a_time(self, harness: Harness) -> None:
        """B4: four consumers of a group over two channels; each message goes to one of them."""
        count = 60
        got: Counter[object] = Counter()
        async with place(harness) as (channel, topic, group), opened(harness) as second:
            everything = anyio.Event()

            async def consume(number: int) -> None:
                over = channel if number % 2 else second
                async with over.subscribe(topic, group=group, in_flight=5, lease=LONG) as sub:
                    async for delivery in sub:
                        got[delivery.body] += 1
                        await anyio.lowlevel.checkpoint()
                        await delivery.ack()
                        if len(got) == count:
                            everything.set()

            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(consume, number)
                with anyio.fail_after(2 * soon()):
                    for first in range(0, count, 10):
                        await wait_all_tasks_blocked()  # so that all of them ask at once
                        await channel.publish_many(topic, range(first, first + 10))
                    await everything.wait()
                tasks.cancel_scope.cancel()
            assert got == Counter(range(count))

    @law("B7")
    async def test_a_group_is_owed_what_is_published_while_nobody_consumes(
        self, harness: Harness
    ) -> None:
        """B7: from its first subscription on, whoever is there."""
        topic, group = harness.topic(), harness.group()
        async with opened(harness) as channel:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await channel.publish(topic, 0)
                await ack_all(await receive(sub, 1))
            await channel.publish_many(topic, [1, 2])
        async with opened(harness) as channel:
            await channel.publish(topic, 3)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 3)
                got = [delivery.body for delivery in deliveries]
                assert in_claimed_order(channel.layer.capabilities, got, [1, 2, 3])
                assert {delivery.attempt for delivery in deliveries} == {1}
                await ack_all(deliveries)

    @law("B7")
    async def test_a_consumer_that_waits_gets_what_is_published(self, harness: Harness) -> None:
        """B7: it was asleep when the publish came, with nothing else to wake it."""
        async with (
            place(harness) as (channel, topic, group),
            channel.subscribe(topic, group=group, lease=LONG) as sub,
        ):
            for number in range(3):
                async with asleep(sub, 1) as deliveries:
                    await channel.publish(topic, number)
                assert bodies(deliveries) == [number]
                await ack_all(deliveries)

    @law("B4", needs=("competing",))
    async def test_consumers_that_wait_share_what_is_published(self, harness: Harness) -> None:
        """B4: one of them has room for one; the other one is woken for the rest."""
        async with (
            place(harness) as (channel, topic, group),
            channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as first,
            channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as second,
        ):
            async with asleep(first, 1) as one, asleep(second, 1) as other:
                await channel.publish_many(topic, range(2))
            assert bodies(one + other) == [0, 1]
            await ack_all(one + other)

    @law("B7", needs=("replay",))
    async def test_a_new_group_starts_where_it_was_told(self, harness: Harness) -> None:
        """B7: with the oldest, with what comes next, or with a time; a known one where it was."""
        topic = harness.topic()
        early, late, timed = harness.group(), harness.group(), harness.group()
        async with opened(harness) as channel:
            can = channel.layer.capabilities

            async def received(sub: AckSubscription[object], topic: str) -> list[object]:
                return [d.body for d in await all_that_is_owed(channel, topic, sub)]

            # A group that owes them, so that they are kept where only what is owed is.
            async with channel.subscribe(topic, group=early, lease=LONG) as sub:
                await channel.publish(topic, "old")
                await anyio.sleep(APART)
                moment = time.time()
                await anyio.sleep(APART)
                await channel.publish(topic, "newer")
                async with channel.subscribe(
                    topic, group=late, start=Start.LATEST, lease=LONG
                ) as latest:
                    await channel.publish(topic, "last")
                    assert await received(latest, topic) == ["last"]
                async with channel.subscribe(
                    topic, group=timed, start=Start.at(moment), lease=LONG
                ) as since:
                    got = await received(since, topic)
                    assert in_claimed_order(can, got, ["newer", "last"])
                got = await received(sub, topic)
                assert in_claimed_order(can, got, ["old", "newer", "last"])
            await channel.publish(topic, "after")
            async with channel.subscribe(
                topic, group=late, start=Start.EARLIEST, lease=LONG
            ) as latest:
                assert await received(latest, topic) == ["after"]

    @law("B7", unless=("replay",))
    async def test_a_start_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """B7: refused, not taken for another one."""
        async with opened(harness) as channel:
            for start in (Start.LATEST, Start.at(0.0)):
                with pytest.raises(CapabilityError):
                    channel.subscribe(harness.topic(), group=harness.group(), start=start)

    @law("B8", needs=("groups",))
    async def test_a_stuck_consumer_blocks_nobody(self, harness: Harness) -> None:
        """B8: no other group of its topic, no other topic, over the same channel."""
        elsewhere, other_group = harness.topic(), harness.group()
        third_group = harness.group()
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=other_group)
            await introduce(channel, elsewhere, group=third_group)
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as stuck:
                await channel.publish_many(topic, range(40))
                held = await receive(stuck, 1)
                await channel.publish_many(elsewhere, range(40))
                for name, consumer in ((topic, other_group), (elsewhere, third_group)):
                    async with channel.subscribe(name, group=consumer, lease=LONG) as sub:
                        others: list[Delivery[object]] = []
                        for _ in range(40):
                            others += (more := await receive(sub, 1))
                            await ack_all(more)
                        assert bodies(others) == list(range(40))
                await ack_all(held)

    @law("B8", needs=("competing",))
    async def test_a_busy_topic_does_not_starve_a_quiet_one(self, harness: Harness) -> None:
        """B8: of two topics in one subscription, the quiet one's message is not the last."""
        async with opened(harness) as channel:
            for in_flight in (10, 1):
                busy, quiet = harness.topic("busy"), harness.topic("quiet")
                group, count = harness.group(), 30 * in_flight
                await channel.publish_many(busy, range(count))
                await channel.publish(quiet, "quiet")
                before = 0
                async with channel.subscribe(
                    busy, quiet, group=group, in_flight=in_flight, lease=LONG
                ) as sub:
                    with anyio.fail_after(soon()):
                        async for delivery in sub:
                            await delivery.ack()
                            if delivery.topic == quiet:
                                break
                            before += 1
                assert before < count / 2
