"""Laws C about holding: what a lease gives, what ends it."""

import signal
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio
import pytest

from acked import CapabilityError, Delivery, LeaseLost, Start, Subscription
from acked.abc import AckFeed
from acked.conformance.child import child, killed
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.steps import (
    LONG,
    Place,
    ack_all,
    bodies,
    lease,
    nothing_is_owed,
    ordered,
    place,
    prefetch,
    receive,
    receive_while_passes,
    soon,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("LeaseLaws",)

UNSEEN: Final = 2.5
"""Seconds within which what nobody sees is given back: the engine looks once a second."""


class LeaseLaws:
    """What holding a message means, and what ends it."""

    @law("C2")
    async def test_what_a_leaving_holder_did_not_settle_comes_again_at_once(
        self, harness: Harness
    ) -> None:
        """C2: a clean leave gives back without waiting for a lease to end."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(6))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, *_held = await receive(sub, 3)
                await first.ack()
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 5)
                assert bodies(again) == [1, 2, 3, 4, 5]
                await ack_all(again)
            await nothing_is_owed(channel, topic, group)

    @law("C2", needs=("lease=timer", "competing"))
    async def test_what_a_silent_holder_had_comes_again_when_its_lease_ends(
        self, harness: Harness
    ) -> None:
        """C2: a holder that is not heard of keeps nothing beyond its lease, and all until then."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.layer.consume(
                [topic], group, in_flight=3, lease=harness.lease, start=Start.EARLIEST
            ) as silent:
                began = harness.clock.time()
                await lease(silent, 3)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    await harness.pass_time(harness.lease * 1.5)
                    again = await receive(sub, 3)
                    assert harness.clock.time() - began >= harness.lease
                    assert bodies(again) == [0, 1, 2]
                    await ack_all(again)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C2")
    async def test_what_a_consumer_held_that_went_comes_again(self, harness: Harness) -> None:
        """C2: also where the consumer settles nothing and gives nothing back when it leaves."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.layer.consume(
                [topic], group, in_flight=3, lease=LONG, start=Start.EARLIEST
            ) as silent:
                await lease(silent, 3)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 3)
                assert bodies(again) == [0, 1, 2]
                await ack_all(again)
            await nothing_is_owed(channel, topic, group)

    @law("C2", "H4", needs=("persistent",), hooks=("url",))
    async def test_a_killed_holders_messages_come_again(self, harness: Harness) -> None:
        """C2, H4: SIGKILL while holding; recovered through no lock that a dead process holds."""
        assert harness.url is not None
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            holding = child("hold", harness.url, topic, group, 4, lease=harness.lease)
            async with holding as process:
                await killed(process)
                began = harness.clock.time()
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    with anyio.fail_after(harness.recovery + soon()):
                        again = [await anext(sub) for _ in range(4)]
                    assert harness.clock.time() - began < harness.recovery
                    assert bodies(again) == [0, 1, 2, 3]
                    await ack_all(again)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C8", needs=("persistent", "confirmed_ack"), hooks=("url",))
    async def test_an_ack_that_returned_survives_sigkill_on_the_next_line(
        self, harness: Harness
    ) -> None:
        """C8: in a child process whose next line after `await ack()` is SIGKILL to itself."""
        assert harness.url is not None
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            acking = child("ack", harness.url, topic, group, 2, lease=harness.lease)
            async with acking as process:
                with anyio.fail_after(soon()):
                    assert await process.wait() == -signal.SIGKILL
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                with anyio.fail_after(harness.recovery + soon()):
                    only = await anext(sub)
                assert only.body == 2
                await only.ack()
                if channel.layer.capabilities.lease == "timer":
                    await harness.pass_time(harness.lease * 1.5)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

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
                async with channel.subscribe(topic, group=group, lease=LONG) as new:
                    held = await receive(new, 5)
                    await next(d for d in held if d.body == 3).ack()
                    verbs = (Verb.ACK, Verb.NACK, Verb.REJECT, Verb.ACK, Verb.REJECT)
                    for number, verb in enumerate(verbs):
                        settlement = Settlement(stale[str(number).encode()], verb)
                        assert await old.settle([settlement]) == [Outcome.LOST]
                    await ack_all([d for d in held if d.body != 3])
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C7", needs=("lease=timer",))
    async def test_an_earlier_lease_of_ones_own_settles_nothing(self, harness: Harness) -> None:
        """C7: one consumer, its lease ends, it gets the message again: the first one is stale."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with silent(Place(channel, topic, group), harness, 4) as feed:
                first = {one.record.body: one.token for one in await lease(feed, 4)}
                await harness.pass_time(harness.lease * 1.5)
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
                async with channel.subscribe(topic, group=group, lease=LONG) as new:
                    held = await receive(new, 3)
                    for settle in (stale[0].ack, stale[1].nack, stale[2].reject):
                        with pytest.raises(LeaseLost):
                            await settle()
                    assert {d.attempt for d in held} == {2}
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

    @law("C11", needs=("extend", "lease=timer", "competing"))
    async def test_an_extension_keeps_it_beyond_the_lease(self, harness: Harness) -> None:
        """C11: and no longer than until it is settled."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(
                topic, group=group, in_flight=1, lease=harness.lease, max_lease=1e-9
            ) as sub:
                (held,) = await receive(sub, 1)
                await held.extend(harness.lease * 6)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as other:
                    await harness.pass_time(harness.lease * 2)
                    await only_a_sentinel_comes(Place(channel, topic, group), other)
                await held.ack()
                with pytest.raises(LeaseLost):
                    await held.extend(harness.lease)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C11", needs=("extend", "lease=timer", "competing"))
    async def test_the_renewal_ends_with_max_lease(self, harness: Harness) -> None:
        """C11: a handler that hangs does not keep its message for ever."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(
                topic, group=group, in_flight=1, lease=harness.lease, max_lease=harness.lease
            ) as hung:
                (stale,) = await receive(hung, 1)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as other:
                    await harness.pass_time(harness.lease * 2.5)
                    (again,) = await receive(other, 1)
                    assert again.attempt == 2
                    await again.ack()
                with pytest.raises(LeaseLost):
                    await stale.extend(harness.lease)
                assert (hung.statistics().lost, hung.statistics().held) == (1, 0)
                with pytest.raises(LeaseLost):
                    await stale.ack()

    @law("C11", unless=("extend",))
    async def test_an_extension_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """C11: refused, not ignored; the message is held as before."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group) as sub:
                (delivery,) = await receive(sub, 1)
                with pytest.raises(CapabilityError):
                    await delivery.extend(10)
                assert sub.statistics().held == 1
                await delivery.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C12", needs=("extend", "lease=timer", "competing"))
    async def test_a_handler_that_outlives_the_lease_keeps_its_message(
        self, harness: Harness
    ) -> None:
        """C12: renewed while held, however long the handler takes; and each of several."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            # Its window is full, so whatever becomes free goes to the other one.
            async with channel.subscribe(
                topic, group=group, in_flight=3, lease=harness.lease
            ) as sub:
                held = await receive(sub, 3)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as other:
                    await harness.pass_time(harness.lease * 2.5)
                    await only_a_sentinel_comes(Place(channel, topic, group), other)
                assert [d.attempt for d in held] == [1, 1, 1]
                await ack_all(held)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("F6", "C16", needs=("release", "attempts", "lease=timer", "competing"))
    async def test_what_nobody_sees_is_given_back_before_its_lease_ends(
        self, harness: Harness
    ) -> None:
        """F6, C16: it was fetched ahead and waits; another one gets it, and as never delivered."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await prefetch(sub, 3)
                async with channel.subscribe(topic, group=group, lease=LONG) as other:
                    got = await receive_while_passes(harness, UNSEEN, other, 3)
                    assert bodies(got) == [0, 1, 2]
                    assert [d.attempt for d in got] == [1, 1, 1]
                    await ack_all(got)
                assert (sub.statistics().delivered, sub.statistics().buffered) == (0, 0)
            await nothing_is_owed(channel, topic, group)

    @law("C19", "F6", needs=("lease=timer", "nack"))
    async def test_what_is_handed_out_has_a_lease_that_holds(self, harness: Harness) -> None:
        """C19, F6: the machine stood still for three leases between fetching and handing out."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                await prefetch(sub, 3)
                await harness.stall(harness.lease * 3)
                handed_out: list[object] = []
                while len(handed_out) < 3:
                    (delivery,) = await receive(sub, 1)
                    await delivery.ack()
                    handed_out.append(delivery.body)
                assert ordered(handed_out) == [0, 1, 2]
                assert (sub.statistics().acked, sub.statistics().lost) == (3, 0)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C12", needs=("lease=connection",))
    async def test_a_handler_may_take_many_times_what_lease_says(self, harness: Harness) -> None:
        """C12: a connection has no end in time, so it does not matter what `lease` says."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, in_flight=3, lease=0.05) as sub:
                (held,) = await receive(sub, 1)
                await harness.pass_time(0.5)
                await held.ack()
                rest = await receive(sub, 2)
                assert [d.attempt for d in rest] == [1, 1]
                await ack_all(rest)
            await nothing_is_owed(channel, topic, group)


def silent(
    here: Place, harness: Harness, in_flight: int
) -> AbstractAsyncContextManager[AckFeed]:
    """Return a consumer that nobody renews anything for, as if its process had died."""
    return here.channel.layer.consume(
        [here.topic], here.group, in_flight=in_flight, lease=harness.lease, start=Start.EARLIEST
    )


async def only_a_sentinel_comes(here: Place, other: Subscription[Delivery[object]]) -> None:
    """Publish a sentinel and see `other`, which waits, get it and nothing before it."""
    await here.channel.publish(here.topic, "sentinel")
    (first,) = await receive(other, 1)
    await first.ack()
    assert first.body == "sentinel", "another one's message came"
