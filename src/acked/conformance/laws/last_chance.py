"""Laws C22, C23: nobody is given up for another's fault."""

from typing import cast

import anyio

from acked import Redelivery
from acked.abc import AckFeed, LastChanceFeed
from acked.conformance.child import child, killed
from acked.conformance.harness import Harness
from acked.conformance.law import law, soon
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import introduce, lease, place, silent
from acked.types import Leased, Outcome, Settlement, Token, Verb

__all__ = ("LastChanceLaws",)

MOST = 3


class LastChanceLaws:
    """What ended a delivery is kept with the message, and what the engine makes of it."""

    @law("C22", needs=("last_chance", "nack", "release", "lease=timer"))
    async def test_what_ended_a_delivery_is_kept_with_the_message(self, harness: Harness) -> None:
        """C22: nacks are told from leases that ended, and these from those of who was alone."""
        async with (
            place(harness) as here,
            silent(here, harness, 1) as one,
            silent(here, harness, 1) as other,
        ):
            await here.channel.publish(here.topic, "body")
            held = await came(one, 1, failures=0)
            await nacked(one, held.token)
            held = await came(one, 2, failures=1)
            await harness.pass_time(harness.lease * 1.5)
            held = await came(other, 3, failures=1)
            await noted(other, held.token, alone=True)
            await harness.pass_time(harness.lease * 1.5)
            held = await came(one, 4, failures=1, ended_alone=1)
            token = await noted(one, held.token, alone=True)
            await one.release([token])
            held = await came(other, 4, failures=1, ended_alone=1)
            token = await noted(other, held.token, alone=True)
            await noted(other, token, alone=False)
            await harness.pass_time(harness.lease * 1.5)
            held = await came(one, 5, failures=1, ended_alone=1)
            await noted(one, held.token, alone=True)
            await harness.pass_time(harness.lease * 1.5)
            held = await came(other, 6, failures=1, ended_alone=2)
            await nacked(other, await noted(other, held.token, alone=True))
            held = await came(one, 7, failures=2)
            token = await noted(one, held.token, alone=True)
            assert await one.settle([Settlement(token, Verb.ACK)]) == [Outcome.CONFIRMED]
            await nothing_is_owed(here.channel, here.topic, here.group, lease=harness.lease)

    @law("C22", needs=("last_chance", "lease=timer"))
    async def test_who_lost_a_message_notes_nothing_with_it(self, harness: Harness) -> None:
        """C22: a note of a former holder would bury what its present holder has."""
        async with (
            place(harness) as here,
            silent(here, harness, 1) as former,
            silent(here, harness, 1) as holder,
        ):
            await here.channel.publish(here.topic, "body")
            (lost,) = await lease(former, 1)
            await harness.pass_time(harness.lease * 1.5)
            await came(holder, 2, failures=0)
            assert await cast("LastChanceFeed", former).note_alone(lost.token, alone=True) is None
            await harness.pass_time(harness.lease * 1.5)
            (again,) = await lease(former, 1)
            assert (again.attempt, again.ended_alone) == (3, 0)
            await former.settle([Settlement(again.token, Verb.ACK)])

    @law("C22", "C23", needs=("last_chance", "dead_letter", "lease=timer"))
    async def test_nobody_is_given_up_for_what_ended_beside_it(self, harness: Harness) -> None:
        """C22, C23: of what a process had when it ended, only what ends one alone is given up."""
        dead, count = harness.topic(), 12
        redelivery = Redelivery(max_deliveries=MOST, dead_letter=dead)
        async with place(harness) as here:
            await introduce(here.channel, dead, group=here.group)
            await here.channel.publish_many(here.topic, range(count))
            async with silent(here, harness, count) as one, silent(here, harness, count) as other:
                for feed in (one, other):
                    await lease(feed, count)
                    await harness.pass_time(harness.lease * 1.5)
                for feed, innocent in ((one, 0), (other, 1)):  # once each it may be a coincidence
                    leased = await lease(feed, count)
                    await noted(feed, leased[innocent].token, alone=True)
                    await noted(feed, leased[-1].token, alone=True)
                    await harness.pass_time(harness.lease * 1.5)
                async with here.channel.subscribe(
                    here.topic, group=here.group, lease=harness.lease, redelivery=redelivery
                ) as sub:
                    got: list[object] = []
                    with anyio.fail_after(harness.recovery + 3 * soon()):
                        while len(got) < count - 1:
                            delivery = await anext(sub)
                            assert sub.statistics().held == 1, "nothing is beside a last chance"
                            assert delivery.attempt <= MOST
                            got.append(delivery.body)
                            await delivery.ack()
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(anext, sub)  # nothing is fetched for nobody
                            while sub.statistics().dead_lettered < 1:
                                await anyio.sleep(0.01)
                            tasks.cancel_scope.cancel()
            async with here.channel.subscribe(dead, group=here.group) as letters:
                with anyio.fail_after(soon()):
                    letter = await anext(letters)
                assert {*got, letter.body} == {*range(count)}
                await letter.ack()
            await nothing_is_owed(here.channel, dead, here.group)

    @law("C17", "C22", needs=("last_chance", "dead_letter", "persistent"), hooks=("url",))
    async def test_a_process_that_was_killed_condemns_nothing_that_it_held(
        self, harness: Harness
    ) -> None:
        """C17, C22: what it held may have been a neighbour's victim, and gets its last chance."""
        assert harness.url is not None
        dead, reader = harness.topic("dead"), harness.group("reader")
        policy = Redelivery(max_deliveries=1, dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=reader)
            await channel.publish_many(topic, range(3))
            async with child("hold", harness.url, topic, group, 3, lease=harness.lease) as process:
                await killed(process)
            async with channel.subscribe(
                topic, group=group, redelivery=policy, lease=harness.lease
            ) as sub:
                with anyio.fail_after(harness.recovery + 3 * soon()):
                    for _ in range(3):
                        delivery = await anext(sub)
                        assert delivery.attempt == 1, "it had no fault of its own"
                        assert sub.statistics().held == 1, "and is alone"
                        await delivery.ack()
            await nothing_is_owed(channel, topic, group)
            await nothing_is_owed(channel, dead, reader)


async def came(feed: AckFeed, attempt: int, *, failures: int, ended_alone: int = 0) -> Leased:
    """Return the next message, which came as the law says."""
    (leased,) = await lease(feed, 1)
    found = (leased.attempt, leased.failures or 0, leased.ended_alone)
    assert found == (attempt, failures, ended_alone), "(attempt, failures, ended_alone)"
    return leased


async def nacked(feed: AckFeed, token: Token) -> None:
    """Nack the message of `token`."""
    assert await feed.settle([Settlement(token, Verb.NACK)]) == [Outcome.CONFIRMED]


async def noted(feed: AckFeed, token: Token, *, alone: bool) -> Token:
    """Note that the message of `token` is handled alone, or not; return its token."""
    found = await cast("LastChanceFeed", feed).note_alone(token, alone=alone)
    assert found is not None, "it is ours"
    return found
