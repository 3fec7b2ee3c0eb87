"""Laws C: what acking, nacking and rejecting mean; of several messages at once in `batches`."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import AlreadySettled, CapabilityError, Delivery, Start, UnsettledWarning
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    lease,
    opened,
    place,
    receive,
    receive_while_passes,
    received_when,
    soon,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("AcknowledgementLaws",)


class AcknowledgementLaws:
    """What acking, nacking and rejecting mean."""

    @law("C1")
    async def test_an_acked_message_never_comes_again(self, harness: Harness) -> None:
        """C1: not to a new consumer, not when leases have ended, not after opening again."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                deliveries = await receive(sub, 10)
                await ack_all(deliveries[:5])
                unacked = bodies(deliveries[5:])
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                deliveries = await receive(sub, 5)
                assert bodies(deliveries) == unacked
                await ack_all(deliveries)
                if channel.layer.capabilities.lease == "timer":
                    await harness.pass_time(harness.lease * 2)
        async with opened(harness) as channel:
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("C3", "C4", needs=("nack",))
    async def test_a_nack_brings_it_again_without_waiting_for_the_lease(
        self, harness: Harness
    ) -> None:
        """C3, C4: at once, to a group whose lease is long; its neighbours stay where they are."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 3)
                await next(d for d in deliveries if d.body == 1).nack()
                (again,) = await receive(sub, 1)
                assert (again.body, again.attempt) == (1, 2)
                await ack_all([again, *(d for d in deliveries if d.body != 1)])
                assert sub.statistics().acked == 3
            await nothing_is_owed(channel, topic, group)

    @law("C3", needs=("nack_delay",))
    async def test_a_delayed_nack_brings_it_not_before_its_delay(self, harness: Harness) -> None:
        """C3: the delay is a promise; what is published meanwhile comes first."""
        delay = harness.lease * 2
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "delayed")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                nacked = harness.clock.time()
                await delivery.nack(delay=delay)
                await channel.publish(topic, "meanwhile")
                (meanwhile,) = await receive(sub, 1)
                assert meanwhile.body == "meanwhile"
                await meanwhile.ack()
                again, came = await received_when(harness, delay * 1.1, sub)
                assert (again.body, again.attempt) == ("delayed", 2)
                assert came - nacked >= delay
                await again.ack()

    @law("C3", needs=("nack_delay",))
    async def test_what_was_nacked_with_a_delay_outlives_the_consumer(
        self, harness: Harness
    ) -> None:
        """C3: a delay that only the consumer knew would end with it, and take the message along."""
        delay = harness.lease
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "delayed")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                await delivery.nack(delay=delay)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (again,) = await receive_while_passes(harness, delay * 1.1, sub, 1)
                assert again.body == "delayed"
                await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C3", unless=("nack",))
    async def test_a_nack_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """C3: refused, not ignored; the message is held as before."""
        await is_refused(harness, lambda delivery: delivery.nack())

    @law("C3", unless=("nack_delay",))
    async def test_a_delay_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """C3: a nack that came back sooner than told would be a hot loop."""
        await is_refused(harness, lambda delivery: delivery.nack(delay=1.0))

    @law("C5", needs=("reject",))
    async def test_a_rejected_message_never_comes_again(self, harness: Harness) -> None:
        """C5: with no dead-letter topic it is gone, and its neighbours are not."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second, third = await receive(sub, 3)
                await first.reject("no such customer")
                await second.ack()
                assert (sub.statistics().rejected, third.attempt) == (1, 1)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 1)
                assert bodies(again) == [third.body]
                await ack_all(again)
            await nothing_is_owed(channel, topic, group)

    @law("C5", unless=("reject",))
    async def test_a_rejection_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """C5: refused, not ignored; the message is held as before."""
        await is_refused(harness, lambda delivery: delivery.reject())

    @law("C6", needs=("nack", "reject"))
    async def test_the_first_settlement_wins(self, harness: Harness) -> None:
        """C6: the same again is a no-op, another one an error; concurrent ones are one action."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(2))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second = await receive(sub, 2)
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(first.ack)
                await first.ack()
                with pytest.raises(AlreadySettled):
                    await first.nack()
                with pytest.raises(AlreadySettled):
                    await first.reject()
                await second.nack()
                with pytest.raises(AlreadySettled):
                    await second.ack()
                (again,) = await receive(sub, 1)
                assert (again.body, again.attempt) == (second.body, 2)
                await again.ack()
                assert sub.statistics().acked == 2
            await nothing_is_owed(channel, topic, group)

    @law("C6", needs=("nack", "reject"))
    async def test_a_token_that_was_settled_settles_nothing_more(self, harness: Harness) -> None:
        """C6: the layer itself answers LOST to whatever comes after the first settlement."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.layer.consume(
                [topic], group, in_flight=10, lease=LONG, start=Start.EARLIEST
            ) as feed:
                (leased,) = await lease(feed, 1)
                (outcome,) = await feed.settle([Settlement(leased.token, Verb.ACK)])
                assert outcome in {Outcome.CONFIRMED, Outcome.SENT}
                for verb in (Verb.NACK, Verb.REJECT):
                    (outcome,) = await feed.settle([Settlement(leased.token, verb)])
                    assert outcome is Outcome.LOST
            await nothing_is_owed(channel, topic, group)

    @law("C10")
    async def test_cancelling_an_ack_leaves_it_acked_or_owed(self, harness: Harness) -> None:
        """C10: cancelled at every step of it; never lost, and the others can be settled."""
        steps = 12
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(steps))
            confirmed: set[object] = set()
            async with channel.subscribe(topic, group=group, lease=LONG, in_flight=steps) as sub:

                async def ack(delivery: Delivery[object]) -> None:
                    await delivery.ack()
                    confirmed.add(delivery.body)

                for step, delivery in enumerate(await receive(sub, steps)):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(ack, delivery)
                        for _ in range(step):
                            await checkpoint()
                        tasks.cancel_scope.cancel()
                    # A settlement on its way goes on; the same again waits for it.
                    await delivery.ack()
                    confirmed.add(delivery.body)
                assert confirmed == set(range(steps))
            await nothing_is_owed(channel, topic, group)

    @law("C18", needs=("nack",))
    async def test_a_delivery_forgotten_unsettled_warns_with_its_place(
        self, harness: Harness
    ) -> None:
        """C18: it names the line where it was received, and the message stays owed."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                with pytest.warns(UnsettledWarning, match=r"acknowledgement\.py:\d+"):
                    with anyio.fail_after(soon()):
                        await anext(sub)
                again: list[Delivery[object]] = []
                async with anyio.create_task_group() as tasks:

                    async def read() -> None:
                        again.extend(await receive(sub, 1))

                    tasks.start_soon(read)
                    await harness.pass_time(harness.lease * 2.5)
                assert again[0].body == "body"
                await ack_all(again)


async def is_refused(
    harness: Harness, settle: Callable[[Delivery[object]], Awaitable[None]]
) -> None:
    """See `settle` refused and the message untouched: still held, then acked as ever."""
    async with place(harness) as (channel, topic, group):
        await channel.publish(topic, "body")
        async with channel.subscribe(topic, group=group) as sub:
            (delivery,) = await receive(sub, 1)
            with pytest.raises(CapabilityError):
                await settle(delivery)
            assert sub.statistics().held == 1
            await delivery.ack()
        await nothing_is_owed(channel, topic, group)
