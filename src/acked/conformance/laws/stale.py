"""Laws C7: a lease that has ended settles, extends and releases nothing, whoever has the next."""

import pytest

from acked import LeaseLost, Start, VirtualClock
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    Place,
    ack_all,
    bodies,
    lease,
    place,
    receive,
    received_when,
    silent,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("StaleLaws",)


class StaleLaws:
    """What was ours and is not any more."""

    @law("C7", needs=("lease=timer", "competing", "nack", "reject"))
    async def test_a_stale_settlement_is_lost_and_spares_the_new_holder(
        self, harness: Harness
    ) -> None:
        """C7: settled after the lease, by each verb; the new holder's lease is untouched."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(5))
            async with silent(Place(channel, topic, group), harness, 5) as old:
                stale = {one.record.body: one.token for one in await lease(old, 5)}
                await harness.pass_time(harness.lease * 1.5)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as new:
                    held = await receive(new, 5)
                    await next(d for d in held if d.body == 3).ack()
                    verbs = (Verb.ACK, Verb.NACK, Verb.REJECT, Verb.ACK, Verb.REJECT)
                    for number, verb in enumerate(verbs):
                        settlement = Settlement(stale[str(number).encode()], verb)
                        assert await old.settle([settlement]) == [Outcome.LOST]
                    await ack_all([d for d in held if d.body != 3])
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C2", needs=("lease=timer", "competing"))
    async def test_the_lease_of_the_holder_decides(self, harness: Harness) -> None:
        """C2: whoever asks, with a longer lease of its own or a shorter one."""
        async with place(harness) as (channel, topic, group):
            for theirs in (harness.lease * 20, harness.lease / 4):
                await channel.publish(topic, "body")
                async with silent(Place(channel, topic, group), harness, 1) as feed:
                    await lease(feed, 1)
                    began = harness.clock.time()
                    async with channel.subscribe(topic, group=group, lease=theirs) as sub:
                        again, came = await received_when(harness, harness.lease * 1.5, sub)
                        assert came - began >= harness.lease * 0.9
                        await again.ack()
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C2", needs=("lease=timer", "competing"))
    async def test_leases_of_any_length_last_so_long(self, harness: Harness) -> None:
        """C2: half of one, and one and three quarters: not rounded to whole seconds."""
        async with place(harness) as (channel, topic, group):
            unit = 1.0 if isinstance(harness.clock, VirtualClock) else harness.lease
            for length in (unit * 0.5, unit * 1.75):
                await channel.publish(topic, "body")
                async with channel.layer.consume(
                    [topic], group, in_flight=1, lease=length, start=Start.EARLIEST
                ) as feed:
                    began = harness.clock.time()
                    await lease(feed, 1)
                    async with channel.subscribe(topic, group=group, lease=length) as sub:
                        again, came = await received_when(harness, length * 1.3, sub)
                        assert came - began >= length * 0.9
                        await again.ack()
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C7", needs=("lease=timer",))
    async def test_an_earlier_lease_of_ones_own_settles_nothing(self, harness: Harness) -> None:
        """C7: one consumer, its lease ends, it gets the message again: the first one is stale."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with silent(Place(channel, topic, group), harness, 4) as feed:
                first = {one.record.body: one.token for one in await lease(feed, 4)}
                await harness.pass_time(harness.lease * 1.5)
                # It holds them still, and takes nothing from itself: it gives them back.
                await feed.settle([Settlement(token, Verb.NACK) for token in first.values()])
                again = {one.record.body: one.token for one in await lease(feed, 4)}
                can = channel.layer.capabilities
                for number, verb in enumerate((Verb.ACK, Verb.NACK, Verb.REJECT)):
                    if getattr(can, verb.name.lower(), True):
                        settlement = Settlement(first[str(number).encode()], verb)
                        assert await feed.settle([settlement]) == [Outcome.LOST]
                if can.extend:
                    assert await feed.extend([first[b"3"]], LONG) == [Outcome.LOST]
                if can.release:
                    await feed.release([first[b"3"]])
                settlements = [Settlement(token, Verb.ACK) for token in again.values()]
                assert set(await feed.settle(settlements)) <= {Outcome.CONFIRMED, Outcome.SENT}
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C7", needs=("lease=timer",))
    async def test_nobody_takes_what_it_holds_from_itself(self, harness: Harness) -> None:
        """C7: its lease is over, and no other consumer is there: what a read brings is new."""
        async with place(harness) as here:
            await here.channel.publish(here.topic, "held")
            async with silent(here, harness, 2) as feed:
                (held,) = await lease(feed, 1)
                await harness.pass_time(harness.lease * 1.5)
                await here.channel.publish(here.topic, "new")
                (new,) = await lease(feed, 1)
                assert new.record.id != held.record.id
                await feed.settle([Settlement(one.token, Verb.ACK) for one in (new, held)])
            async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                owed = await all_that_is_owed(here.channel, here.topic, sub)
                assert {delivery.id for delivery in owed} <= {held.record.id}

    @law("C7", "C11", needs=("lease=timer", "competing", "nack", "reject", "extend"))
    async def test_what_was_held_beyond_max_lease_can_be_settled_no_more(
        self, harness: Harness
    ) -> None:
        """C7, C11: each verb raises `LeaseLost`; another one has it, and it stays its own."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            # Renewal stops at once: it holds like a handler that has hung.
            hung = channel.subscribe(
                topic, group=group, in_flight=3, lease=harness.lease, max_lease=1e-9
            )
            async with hung as old:
                stale = await receive(old, 3)
                await harness.pass_time(harness.lease * 1.5)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as new:
                    held = await receive(new, 3)
                    for settle in (stale[0].ack, stale[1].nack, stale[2].reject):
                        with pytest.raises(LeaseLost):
                            await settle()
                    await ack_all(held)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C7", needs=("lease=timer", "competing", "extend"))
    async def test_a_stale_token_extends_and_releases_nothing(self, harness: Harness) -> None:
        """C7: what another one holds stays with it, and stays its own."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with (
                channel.layer.consume(
                    [topic], group, in_flight=1, lease=harness.lease, start=Start.EARLIEST
                ) as old,
                channel.layer.consume(
                    [topic], group, in_flight=1, lease=harness.lease, start=Start.EARLIEST
                ) as new,
            ):
                (stale,) = await lease(old, 1)
                await harness.pass_time(harness.lease * 1.5)
                (held,) = await lease(new, 1)
                assert await old.extend([stale.token], LONG) == [Outcome.LOST]
                await old.release([stale.token])
                (outcome,) = await new.settle([Settlement(held.token, Verb.ACK)])
                assert outcome in {Outcome.CONFIRMED, Outcome.SENT}
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C7", needs=("lease=connection", "nack", "reject"), hooks=("end_leases",))
    async def test_a_settlement_after_the_connection_broke_is_lost(self, harness: Harness) -> None:
        """C7: by each verb; it is not sent for what was delivered anew over another one."""
        assert harness.end_leases is not None
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, in_flight=6) as sub:
                stale = await receive(sub, 3)
                await harness.end_leases(topic, group)
                again = await receive(sub, 3)
                assert bodies(again) == [0, 1, 2]
                for settle in (stale[0].ack, stale[1].nack, stale[2].reject):
                    with pytest.raises(LeaseLost):
                        await settle()
                await next(d for d in again if d.body == 0).ack()
            async with channel.subscribe(topic, group=group) as sub:
                rest = await receive(sub, 2)
                assert bodies(rest) == [1, 2]
                await ack_all(rest)
            await nothing_is_owed(channel, topic, group)
