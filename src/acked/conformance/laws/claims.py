"""Laws for claims: groups that are removed, delays, starts, answers, lag."""

import time

import anyio
import pytest

from acked import AckSubscription, LayerError, Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed, one_comes_after
from acked.conformance.laws.steps import (
    DAY,
    LONG,
    ack_all,
    bodies,
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

__all__ = ("ClaimLaws",)


class ClaimLaws:
    """What a flag says is so."""

    @law("B10", needs=("remove_group", "groups", "replay"))
    async def test_a_group_that_is_removed_is_owed_nothing_and_no_other_is_touched(
        self, harness: Harness
    ) -> None:
        """B10: what it had not settled is forgotten; who subscribes as it again is new."""
        async with place(harness) as (channel, topic, group):
            other = harness.group()
            await introduce(channel, topic, group=group)
            await introduce(channel, topic, group=other)
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await ack_all(await receive(sub, 1))
            await channel.remove_group(topic, group=group)
            async with channel.subscribe(topic, group=group, start=Start.LATEST, lease=LONG) as sub:
                assert await all_that_is_owed(channel, topic, sub) == []
            async with channel.subscribe(topic, group=other, lease=LONG) as sub:
                assert bodies(await all_that_is_owed(channel, topic, sub)) == [0, 1, 2]

    @law("B10", needs=("remove_group",))
    async def test_a_group_with_a_consumer_is_not_removed(self, harness: Harness) -> None:
        """B10: refused, and its consumer gets on; a group that nobody knows is no error."""
        async with place(harness) as (channel, topic, group):
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await channel.publish(topic, 1)
                first = await receive(sub, 1)
                with pytest.raises(LayerError):
                    await channel.remove_group(topic, group=group)
                await channel.publish(topic, 2)
                second = await receive(sub, 1)
                assert bodies(first + second) == [1, 2]
                await ack_all(first + second)
            await channel.remove_group(topic, group=harness.group())
            await nothing_is_owed(channel, topic, group)

    @law("I5", needs=("lag",))
    async def test_the_lag_is_what_was_published_and_not_fetched(self, harness: Harness) -> None:
        """I5: also while a consumer is stuck; and nothing when it has caught up."""
        async with (
            place(harness) as (channel, topic, group),
            channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub,
        ):
            await channel.publish_many(topic, range(10))
            held = await receive(sub, 1)
            await lag_becomes(sub, harness, 9)
            await ack_all(held)
            for _ in range(9):
                await ack_all(await receive(sub, 1))
            await lag_becomes(sub, harness, 0)

    @law("B10", needs=("remove_group", "replay", "nack_delay"))
    async def test_removing_a_group_takes_all_of_it_and_nothing_else(
        self, harness: Harness
    ) -> None:
        """B10: what is delayed goes too; the group of this name of another topic stays. Or none."""
        async with place(harness) as (channel, topic, group):
            elsewhere = harness.topic()
            await introduce(channel, elsewhere, group=group)
            await channel.publish_many(topic, range(4))
            await channel.publish(elsewhere, "theirs")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second, *_held = await receive(sub, 3)
                await first.nack(delay=harness.lease / 2)
                await second.nack()
            refused = False
            try:
                await channel.remove_group(topic, group=group)
            except LayerError:  # a broker may have one group for all its topics, and says so
                refused = True
            async with channel.subscribe(topic, group=group, start=Start.LATEST, lease=LONG) as sub:
                await harness.pass_time(harness.lease)
                owed = bodies(await all_that_is_owed(channel, topic, sub))
                assert owed == ([0, 1, 2, 3] if refused else [])
            async with channel.subscribe(elsewhere, group=group, lease=LONG) as sub:
                assert bodies(await all_that_is_owed(channel, elsewhere, sub)) == ["theirs"]

    @law("I5", needs=("lag", "attempts", "nack"))
    async def test_the_lag_is_of_all_topics_and_of_this_group(self, harness: Harness) -> None:
        """I5: what was there before it joined counts; what was delivered does not."""
        topics, group, other = [harness.topic() for _ in range(2)], harness.group(), harness.group()
        async with opened(harness) as channel:
            for name in (group, other):
                await introduce(channel, *topics, group=name)
            for topic in topics:
                await channel.publish_many(topic, range(5))
            for left in (9, 8):
                async with channel.subscribe(
                    *topics, group=group, in_flight=1, lease=harness.lease
                ) as sub:
                    while (delivery := (await receive(sub, 1))[0]).attempt > 1:
                        await delivery.ack()
                    # Or one less: a layer may look at both topics at once, and give one back.
                    await lag_becomes(sub, harness, left, left - 1)
                    await delivery.nack()
                    await lag_becomes(sub, harness, left, left - 1)

    @law("C1", needs=("confirmed_ack",))
    async def test_an_ack_is_answered_by_the_broker(self, harness: Harness) -> None:
        """C1: CONFIRMED, as it is claimed; SENT would leave the caller in doubt."""
        await answers(harness, Outcome.CONFIRMED)

    @law("C1", unless=("confirmed_ack",))
    async def test_an_ack_that_nobody_answers_is_not_said_to_be_confirmed(
        self, harness: Harness
    ) -> None:
        """C1: SENT."""
        await answers(harness, Outcome.SENT)

    @law("C3", needs=("nack_delay", "lease=timer"))
    async def test_a_delay_may_be_longer_than_a_lease(self, harness: Harness) -> None:
        """C3: four times; the end of the lease that it had does not bring it sooner."""
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish(topic, "body")
            began = harness.clock.time()
            async with silent(here, harness, 1) as feed:
                (leased,) = await lease(feed, 1)
                await feed.settle([Settlement(leased.token, Verb.NACK, delay=harness.lease * 4)])
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                again, came = await received_when(harness, harness.lease * 4.4, sub)
                assert came - began >= harness.lease * 4
                await again.ack()

    @law("C3", needs=("nack_delay", "lease=timer"))
    async def test_a_delay_may_be_longer_than_a_day(self, harness: Harness) -> None:
        """C3: and than a month, where time is virtual; elsewhere neither comes at once."""
        for delay in (1.5 * DAY, 30 * DAY):
            async with place(harness) as here:
                await here.channel.publish(here.topic, "body")
                async with silent(here, harness, 1) as feed:
                    (leased,) = await lease(feed, 1)
                    await feed.settle([Settlement(leased.token, Verb.NACK, delay=delay)])
                await one_comes_after(harness, here, delay)

    @law("C3", "E4", needs=("nack", "order_after_nack", "order=total"))
    async def test_several_that_are_nacked_at_once_keep_their_order(self, harness: Harness) -> None:
        """C3, E4: and come before what was not delivered."""
        async with place(harness) as here:
            await here.channel.publish_many(here.topic, range(20))
            async with silent(here, harness, 20) as feed:
                held = (await lease(feed, 8))[:8]
                rest = await lease(feed, 8 - len(held)) if len(held) < 8 else []
                tokens = [one.token for one in held + rest]
                await feed.settle([Settlement(token, Verb.NACK) for token in reversed(tokens)])
            async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                deliveries = await receive(sub, 20)
                assert [delivery.body for delivery in deliveries] == list(range(20))
                await ack_all(deliveries)

    @law("B7", needs=("replay",))
    async def test_a_start_at_or_after_the_last_message_is_taken_at_its_word(
        self, harness: Harness
    ) -> None:
        """B7: at its time it is the first that comes; after it the next one is."""
        async with place(harness) as (channel, topic, keeper):
            await introduce(channel, topic, group=keeper)
            await channel.publish(topic, "early")
            await anyio.sleep(0.05)
            await channel.publish(topic, "last")
            async with channel.subscribe(topic, group=keeper, lease=LONG) as sub:
                early, last = sorted(await receive(sub, 2), key=lambda one: str(one.body))
                for expected in (["last"], []):
                    moment = last.timestamp if expected else time.time() + 0.05
                    async with channel.subscribe(
                        topic, group=harness.group(), start=Start.at(moment), lease=LONG
                    ) as since:
                        await anyio.sleep(0.1)
                        got = [d.body for d in await all_that_is_owed(channel, topic, since)]
                        assert got == expected
                await ack_all([early, last])


async def lag_becomes(sub: AckSubscription[object], harness: Harness, *wanted: int) -> None:
    """Return when the lag of `sub` is one of `wanted`."""
    with anyio.move_on_after(harness.recovery + soon()):
        while sub.statistics().lag not in wanted:
            await anyio.sleep(0.01)
    assert sub.statistics().lag in wanted


async def answers(harness: Harness, wanted: Outcome) -> None:
    """See that an ack is answered with `wanted`."""
    async with place(harness) as here:
        await here.channel.publish_many(here.topic, range(3))
        async with silent(here, harness, 3) as feed:
            held = await lease(feed, 3)
            replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            assert list(replies) == [wanted] * 3
        await nothing_is_owed(here.channel, here.topic, here.group)
