"""Laws C about holding: what a lease gives, what ends it."""

import signal
from typing import Final

import anyio
import pytest

from acked import CapabilityError, Delivery, LeaseLost, Start, Subscription, VirtualClock
from acked.conformance.child import child, killed
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import asleep, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    Place,
    ack_all,
    bodies,
    lease,
    ordered,
    place,
    prefetch,
    receive,
    receive_while_passes,
    soon,
)

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
                await prefetch(sub, 6)  # so three are left that were fetched and not seen
                first, *_held = await receive(sub, 3)
                await first.ack()
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 5)
                assert bodies([first, *again]) == [0, 1, 2, 3, 4, 5]
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
                assert only.body in {0, 1, 2}  # which two it had is the order's
                await only.ack()
                if channel.layer.capabilities.lease == "timer":
                    await harness.pass_time(harness.lease * 1.5)
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

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
                    here = Place(channel, topic, group)
                    await only_a_sentinel_comes(here, other, harness, harness.lease * 2)
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
                    here = Place(channel, topic, group)
                    await only_a_sentinel_comes(here, other, harness, harness.lease * 2.5)
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
            # Shorter than what nobody sees is kept for, where time is virtual.
            length = 0.3 if isinstance(harness.clock, VirtualClock) else harness.lease
            async with channel.subscribe(topic, group=group, lease=length) as sub:
                await prefetch(sub, 3)
                await harness.stall(length * 3)
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


async def only_a_sentinel_comes(
    here: Place, other: Subscription[Delivery[object]], harness: Harness, seconds: float
) -> None:
    """See `other`, which waits for so many `seconds`, get a sentinel then and nothing before it.

    It must wait: what nobody asks for is taken from nobody.
    """
    async with asleep(other, 1) as got:
        await harness.pass_time(seconds)
        await here.channel.publish(here.topic, "sentinel")
    (first,) = got
    await first.ack()
    assert first.body == "sentinel", "another one's message came"
