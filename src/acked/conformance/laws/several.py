"""Laws of more than one: topics, groups, consumers, channels; the second is where bugs are."""

from contextlib import AsyncExitStack
from typing import Final

from acked import Record, Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.again import equal, originals
from acked.conformance.laws.owed import all_that_is_owed, asleep, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    Place,
    ack_all,
    bodies,
    introduce,
    lease,
    opened,
    place,
    receive,
    receive_while_passes,
    silent,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("SeveralLaws",)

TOPICS: Final = 24
"""More than a selector, a shard or an argument list of a careless layer takes."""


class SeveralLaws:
    """What holds for one topic, group, consumer or channel holds for each of several."""

    @law("B1", "B8")
    async def test_each_of_many_topics_is_heard(self, harness: Harness) -> None:
        """B1, B8: two dozen in one subscription."""
        topics, group = [harness.topic() for _ in range(TOPICS)], harness.group()
        async with opened(harness) as channel:
            await introduce(channel, *topics, group=group)
            async with channel.subscribe(*topics, group=group, lease=LONG) as sub:
                for topic in topics:
                    await channel.publish(topic, topic)
                got = await receive(sub, TOPICS)
                assert sorted(str(d.body) for d in got) == sorted(topics)
                assert all(d.body == d.topic for d in got)
                await ack_all(got)
            await nothing_is_owed(channel, topics[0], group)
            await nothing_is_owed(channel, topics[-1], group)

    @law("A8", "B2")
    async def test_receipts_of_several_topics_are_in_the_order_of_the_records(
        self, harness: Harness
    ) -> None:
        """A8, B2: mixed up in one request, each arrives where it was sent."""
        group = harness.group()
        topics = sorted((harness.topic() for _ in range(3)), reverse=True)
        async with opened(harness) as channel:
            await introduce(channel, *topics, group=group)
            names = [topics[n % 3] for n in (0, 1, 2, 2, 1, 0, 1)] * 5
            records = [Record(name, b"1", harness.topic("id")) for name in names]
            receipts = await channel.layer.publish(records)
            sent = [(record.id, record.topic) for record in records]
            assert [(one.id, one.topic) for one in receipts] == sent
            positions = {one.id: one.position for one in receipts}
            async with channel.layer.consume(
                topics, group, in_flight=len(records), lease=LONG, start=Start.EARLIEST
            ) as feed:
                held = await lease(feed, len(records))
                arrived = {one.record.id: one.record.topic for one in held}
                assert arrived == dict(sent)
                for one in held:
                    kept = positions[one.record.id]
                    assert not kept or not one.position or one.position == kept
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            for topic in topics:
                await nothing_is_owed(channel, topic, group)

    @law("B5", "A3", "A4", needs=("groups",))
    async def test_each_group_gets_the_same(self, harness: Harness) -> None:
        """B5, A3, A4: in every field; a group that comes late, too, and again after a nack."""
        async with place(harness) as here:
            channel, topic, first = here
            can = channel.layer.capabilities
            groups = [first, harness.group(), harness.group()]
            for group in groups[1:]:
                await introduce(channel, topic, group=group)
            records = originals(topic, harness, can)
            await channel.layer.publish(records)
            if can.replay:
                groups.insert(0, harness.group())
            for group in groups:
                there = Place(channel, topic, group)
                async with silent(there, harness, len(records)) as feed:
                    held = await equal(await lease(feed, len(records)), records)
                    if can.nack:
                        await feed.settle([Settlement(one.token, Verb.NACK) for one in held])
                        held = await equal(await lease(feed, len(records)), records)
                    await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            for group in groups:
                await nothing_is_owed(channel, topic, group)

    @law("C2", "H4", needs=("lease=timer", "competing"))
    async def test_leases_end_in_each_topic_and_for_each_group(self, harness: Harness) -> None:
        """C2, H4: of three topics and two groups; who waits has done so since before."""
        topics, groups = [harness.topic() for _ in range(3)], [harness.group() for _ in range(2)]
        async with opened(harness) as channel:
            for group in groups:
                await introduce(channel, *topics, group=group)
            for topic in topics:
                await channel.publish(topic, topic)
            for group in groups:
                async with channel.layer.consume(
                    topics, group, in_flight=3, lease=harness.lease, start=Start.EARLIEST
                ) as gone:
                    await lease(gone, 3)
                    async with channel.subscribe(*topics, group=group, lease=LONG) as sub:
                        again = await receive_while_passes(harness, harness.lease * 1.5, sub, 3)
                        assert sorted(str(d.body) for d in again) == sorted(topics)
                        await ack_all(again)

    @law("C11", needs=("extend", "lease=timer", "competing"))
    async def test_extending_one_extends_no_other(self, harness: Harness) -> None:
        """C11: of the same consumer, and of the same message in another group."""
        async with place(harness) as here:
            async with silent(here, harness, 3) as feed:
                await here.channel.publish_many(here.topic, range(3))
                kept, *others = await lease(feed, 3)
                await feed.extend([kept.token], harness.lease * 6)
                async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                    again = await receive_while_passes(harness, harness.lease * 1.5, sub, 2)
                    assert {d.id for d in again} == {one.record.id for one in others}
                    await ack_all(again)
                assert await feed.settle([Settlement(kept.token, Verb.ACK)]) == [Outcome.CONFIRMED]
            await nothing_is_owed(*here)

    @law("G8", "G1")
    async def test_closing_one_channel_leaves_another_one_alone(self, harness: Harness) -> None:
        """G8, G1: what it holds it settles; it waits on, and is woken."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, 1)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                held = await receive(sub, 1)
                async with opened(harness) as other:
                    elsewhere = harness.topic()
                    await introduce(other, elsewhere, group=group)
                    await other.publish(elsewhere, 1)
                    async with other.subscribe(elsewhere, group=group, lease=LONG) as theirs:
                        await ack_all(await receive(theirs, 1))
                async with asleep(sub, 1) as got:
                    await channel.publish(topic, 2)
                await ack_all([*held, *got])
                assert (sub.statistics().acked, sub.statistics().lost) == (2, 0)
            await nothing_is_owed(channel, topic, group)

    @law("B7", needs=("replay", "groups"))
    async def test_each_topic_starts_where_it_was_told(self, harness: Harness) -> None:
        """B7: the second one, and one that is new to a group that is not."""
        topics, keeper, group = (
            [harness.topic() for _ in range(3)],
            harness.group(),
            harness.group(),
        )
        async with opened(harness) as channel:
            await introduce(channel, *topics, group=keeper)
            for topic in topics:
                await channel.publish(topic, "old")
            for known in (topics[:2], topics):
                async with channel.subscribe(*known, group=group, start=Start.LATEST, lease=LONG):
                    pass
            for topic in topics:
                await channel.publish(topic, "new")
            for topic in topics:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    assert bodies(await all_that_is_owed(channel, topic, sub)) == ["new"]

    @law("B7", "B8", needs=("competing",))
    async def test_who_reads_other_topics_too_is_woken_for_a_shared_one(
        self, harness: Harness
    ) -> None:
        """B7, B8: two consumers share one topic; the other one is full, whoever was first."""
        for full_is_first in (True, False):
            one, shared, two = topics = [harness.topic() for _ in range(3)]
            group = harness.group()
            async with opened(harness) as channel, AsyncExitStack() as entered:
                await introduce(channel, *topics, group=group)
                full = channel.subscribe(one, shared, group=group, in_flight=1, lease=LONG)
                free = channel.subscribe(shared, two, group=group, lease=LONG)
                for sub in (full, free) if full_is_first else (free, full):
                    await entered.enter_async_context(sub)
                await channel.publish(one, "held")
                held = await receive(full, 1)
                async with asleep(free, 1) as got:
                    await channel.publish(shared, "shared")
                assert bodies(got) == ["shared"]
                await ack_all([*held, *got])
