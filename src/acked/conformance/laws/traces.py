"""Laws A8, C, D, G3: what is over leaves no trace, with the layer or with the broker itself."""

import anyio
import pytest

from acked import LayerError, PublishFailed, Record
from acked.conformance.harness import Harness, Remains
from acked.conformance.law import law, soon
from acked.conformance.laws.letters import rejection
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    place,
    receive,
    silent,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("TraceLaws",)

DONE = frozenset({Outcome.CONFIRMED, Outcome.SENT})
TRIES = 5
"""On a busy machine a lease may end before what is to be done late in it."""


class TraceLaws:
    """What was settled, refused, given back or left does not show in what comes after it."""

    @law("G3", needs=("nack", "reject"), hooks=("kept",))
    async def test_the_broker_keeps_nothing_of_what_is_settled(self, harness: Harness) -> None:
        """G3: by each verb, by a consumer that is closed: no message, no lease, no consumer."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                acked, nacked, rejected, last = await receive(sub, 4)
                await acked.ack()
                await nacked.nack()
                await rejected.reject()
                await last.ack()
                await ack_all(await receive(sub, 1))
        await keeps(harness, topic, group, messages=0)

    @law("G3", "C2", hooks=("kept",))
    async def test_the_broker_keeps_no_lease_of_who_has_left(self, harness: Harness) -> None:
        """G3, C2: seen or not, what was not settled is a message and nothing else."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(3))
            async with silent(here, harness, 2) as feed:
                await lease(feed, 2)
            await keeps(harness, here.topic, here.group, messages=3)
            async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                await ack_all(await receive(sub, 3))
        await keeps(harness, here.topic, here.group, messages=0)

    @law("B10", "G3", needs=("remove_group", "replay"), hooks=("kept",))
    async def test_the_broker_keeps_nothing_for_a_group_that_was_removed(
        self, harness: Harness
    ) -> None:
        """B10, G3: what it alone had not settled is gone with it."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await ack_all(await receive(sub, 1))
            await channel.remove_group(topic, group=group)
            await keeps(harness, topic, group, messages=0)

    @law("C1", "C2", needs=("lease=timer",))
    async def test_what_is_acked_late_in_its_lease_is_not_recovered(self, harness: Harness) -> None:
        """C1, C2: the lease would have ended a moment later, and nobody is to find it then."""
        async with place(harness) as here:
            for body in range(TRIES):
                await here.channel.publish(here.topic, body)
                async with silent(here, harness, 1) as feed:
                    (held,) = await lease(feed, 1)
                    await harness.pass_time(harness.lease * 0.85)
                    (outcome,) = await feed.settle([Settlement(held.token, Verb.ACK)])
                    await harness.pass_time(harness.lease * 0.5)
                if outcome in DONE:
                    break
                async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                    await ack_all(await receive(sub, 1))
            await nothing_is_owed(*here, lease=harness.lease)

    @law("C7", needs=("lease=timer", "competing", "nack"))
    async def test_what_a_zombie_settles_is_not_settled_later(self, harness: Harness) -> None:
        """C7: it is told LOST; the next one fails with it, and the one after that gets it."""
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish_many(topic, range(2))
            async with silent(here, harness, 2) as zombie:
                stale = await lease(zombie, 2)
                await harness.pass_time(harness.lease * 1.5)
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    held = await receive(sub, 2)
                    for one, verb in zip(stale, (Verb.ACK, Verb.NACK), strict=True):
                        assert await zombie.settle([Settlement(one.token, verb)]) == [Outcome.LOST]
                    for delivery in held:
                        await delivery.nack()
                    again = await receive(sub, 2)
                    assert bodies(again) == [0, 1]
                    await ack_all(again)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C2", "C16", needs=("lease=timer", "competing", "extend", "release"))
    async def test_giving_one_back_ends_nothing_for_the_others(self, harness: Harness) -> None:
        """C2, C16: what stays is extended as before."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(2))
            async with silent(here, harness, 2) as feed:
                back, stays = await lease(feed, 2)
                await feed.release([back.token])
                assert await feed.extend([stays.token], LONG + harness.lease) == [Outcome.CONFIRMED]
                await harness.pass_time(harness.lease * 1.5)
                async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                    owed = await all_that_is_owed(here.channel, here.topic, sub)
                    assert [one.id for one in owed] == [back.record.id]
                (outcome,) = await feed.settle([Settlement(stays.token, Verb.ACK)])
                assert outcome in DONE
            await nothing_is_owed(*here, lease=harness.lease)

    @law("F1", needs=("nack", "reject"))
    async def test_no_verb_makes_room_for_more_than_is_asked_for(self, harness: Harness) -> None:
        """F1: a receive brings as many as it was allowed to, whatever was settled before it."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(12))
            async with silent(here, harness, 12) as feed:
                for verb in (Verb.ACK, Verb.NACK, Verb.REJECT):
                    held = await lease(feed, 2)
                    await feed.settle([Settlement(one.token, verb) for one in held])
                    with anyio.fail_after(soon()):
                        one = await feed.receive(1)
                    assert len(one) == 1
                    await feed.settle([Settlement(one[0].token, Verb.ACK)])

    @law("C16", "D1", needs=("dead_letter", "reject", "nack", "attempts"))
    async def test_a_dead_letter_is_counted_from_the_beginning(self, harness: Harness) -> None:
        """C16, D1: what it went through before it died is not its own; what comes then is."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            await introduce(here.channel, dead, group=here.group)
            await here.channel.publish(here.topic, "bad")
            async with silent(here, harness, 1) as feed:
                for _ in range(2):
                    (held,) = await lease(feed, 1)
                    await feed.settle([Settlement(held.token, Verb.NACK)])
                (held,) = await lease(feed, 1)
                assert set(await feed.settle([rejection(held, dead)])) <= DONE
            async with here.channel.subscribe(dead, group=here.group, lease=LONG) as sub:
                for attempt in (1, 2, 3):
                    (letter,) = await receive(sub, 1)
                    assert letter.attempt == attempt
                    await (letter.nack() if attempt < 3 else letter.ack())
            await nothing_is_owed(here.channel, dead, here.group)

    @law("A1", needs=("nack", "attempts"))
    async def test_what_is_published_again_under_its_id_is_a_message(
        self, harness: Harness
    ) -> None:
        """A1: as what is taken from the dead letters is; it comes, and has not been tried."""
        async with place(harness) as here:
            record = Record(here.topic, b'"again"', harness.topic("id"))
            for _ in range(2):
                await here.channel.layer.publish([record])
                async with silent(here, harness, 1) as feed:
                    (first,) = await lease(feed, 1)
                    await feed.settle([Settlement(first.token, Verb.NACK)])
                    (second,) = await lease(feed, 1)
                    await feed.settle([Settlement(second.token, Verb.ACK)])
                assert first.record.id == second.record.id == record.id
                assert (first.attempt, second.attempt) == (1, 2)
            await nothing_is_owed(*here, lease=harness.lease)

    @law("A8", needs=("publish_confirm",), hooks=("refuse",))
    async def test_what_was_refused_can_be_published(self, harness: Harness) -> None:
        """A8: under its id, where there is room: the refusal is not remembered for it."""
        assert harness.refuse is not None
        full = harness.topic("full")
        async with place(harness) as here:
            await harness.refuse(full)
            record = Record(full, b'"body"', harness.topic("id"))
            with pytest.raises((PublishFailed, LayerError)), anyio.fail_after(2 * soon()):
                await here.channel.layer.publish([record])
            await here.channel.layer.publish([Record(here.topic, record.body, record.id)])
            async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                (came,) = await receive(sub, 1)
                assert came.id == record.id
                await came.ack()


async def keeps(harness: Harness, topic: str, group: str, *, messages: int) -> None:
    """See that the broker comes to keep so many messages, and nothing of any consumer."""
    assert harness.kept is not None
    found = Remains()
    with anyio.move_on_after(soon()):
        while True:
            found = await harness.kept(topic, group)
            if found.messages in {None, messages} and not found.leases and not found.consumers:
                return
            await anyio.sleep(0.02)
    raise AssertionError(f"the broker keeps {found}, and was to keep {messages} messages alone")
