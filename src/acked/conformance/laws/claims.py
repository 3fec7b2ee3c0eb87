"""Laws for claims: names, groups that are removed, delays, starts, answers, lag."""

import re
import time
from typing import Final

import anyio
import pytest

from acked import LayerError, Start, VirtualClock
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
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

DAY: Final = 86_400.0
LONG_NAME: Final = "a-long-name-of-which-forty-are-not-enough"


class ClaimLaws:
    """What a flag says is so."""

    @law("B2")
    async def test_names_that_are_nearly_the_same_are_not(self, harness: Harness) -> None:
        """B2: topics that differ in case only, or behind their first forty letters."""
        stem = harness.topic("Name")
        variants = [stem, stem.upper(), stem.lower()]
        variants += [f"{LONG_NAME}{stem.lower()}{ending}" for ending in ("-one", "-two")]
        group = harness.group()
        async with opened(harness) as channel:
            legal = re.compile(channel.layer.capabilities.topic_pattern or ".*")
            names = list(filter(legal.fullmatch, variants))
            assert names, "a topic_pattern that refuses all names of letters, digits and dashes"
            for name in names:
                await introduce(channel, name, group=group)
            for name in names:
                await channel.publish(name, name)
            for name in names:
                async with channel.subscribe(name, group=group, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, name, sub)
                assert [delivery.body for delivery in owed] == [name]

    @law("B2", "B5", needs=("groups",))
    async def test_groups_of_nearly_the_same_name_are_not_the_same(self, harness: Harness) -> None:
        """B2, B5: in case only, or behind their first forty letters: each gets all."""
        stem = harness.group("Group")
        groups = [stem, stem.lower(), f"{LONG_NAME}{stem}-one", f"{LONG_NAME}{stem}-two"]
        topic = harness.topic()
        async with opened(harness) as channel:
            for group in groups:
                await introduce(channel, topic, group=group)
            await channel.publish(topic, "body")
            for group in groups:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, topic, sub)
                assert [delivery.body for delivery in owed] == ["body"]

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
            with anyio.fail_after(harness.recovery + soon()):
                while sub.statistics().lag != 9:
                    await anyio.sleep(0.01)
            await ack_all(held)
            for _ in range(9):
                await ack_all(await receive(sub, 1))
            with anyio.fail_after(harness.recovery + soon()):
                while sub.statistics().lag != 0:
                    await anyio.sleep(0.01)

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
        """C3: a day and a half, where time is virtual; elsewhere it does not come at once."""
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish(topic, "body")
            async with silent(here, harness, 1) as feed:
                (leased,) = await lease(feed, 1)
                await feed.settle([Settlement(leased.token, Verb.NACK, delay=1.5 * DAY)])
            await nothing_is_owed(channel, topic, group)
            if isinstance(harness.clock, VirtualClock):
                await harness.stall(DAY)
                await nothing_is_owed(channel, topic, group)
                await harness.stall(0.5 * DAY + 1)
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    await ack_all(await receive(sub, 1))

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


async def answers(harness: Harness, wanted: Outcome) -> None:
    """See that an ack is answered with `wanted`."""
    async with place(harness) as here:
        await here.channel.publish_many(here.topic, range(3))
        async with silent(here, harness, 3) as feed:
            held = await lease(feed, 3)
            replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            assert list(replies) == [wanted] * 3
        await nothing_is_owed(here.channel, here.topic, here.group)
