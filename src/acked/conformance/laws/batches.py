"""Laws C13, C15: settling several messages, in whatever order, one by one or as a batch."""

import random
from typing import Final

import anyio
import pytest

from acked import AlreadySettled, Start
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
    ordered,
    place,
    receive,
    soon,
)
from acked.types import Outcome, Settlement, Verb

__all__ = ("BatchLaws",)

ROUNDS: Final = 4
"""Permutations tried; the model tries thousands."""


class BatchLaws:
    """What settling several means."""

    @law("C15", "C7", needs=("nack",))
    async def test_a_batch_of_settlements_is_answered_one_by_one(self, harness: Harness) -> None:
        """C15, C7: in their order; one that came too late does not keep the others from it."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(3))
            async with channel.layer.consume(
                [topic], group, in_flight=10, lease=LONG, start=Start.EARLIEST
            ) as feed:
                late, *others = [leased.token for leased in await lease(feed, 3)]
                await feed.settle([Settlement(late, Verb.ACK)])
                batch = [Settlement(late, Verb.NACK), *(Settlement(t, Verb.ACK) for t in others)]
                first, *rest = await feed.settle(batch)
                assert first is Outcome.LOST
                assert set(rest) <= {Outcome.CONFIRMED, Outcome.SENT}
            await nothing_is_owed(channel, topic, group)

    @law("C13", needs=("out_of_order_ack",))
    async def test_whatever_the_order_of_acks_exactly_the_unacked_comes_again(
        self, harness: Harness
    ) -> None:
        """C13: acks in any order, then a new consumer over a new connection: nothing is skipped."""
        count, chance = 12, random.Random(13)  # noqa: S311 - not a secret
        topic, group = harness.topic(), harness.group()
        async with opened(harness) as channel:
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(count))
        owed: set[object] = set(range(count))
        for _ in range(ROUNDS):
            async with (
                opened(harness) as channel,
                channel.subscribe(topic, group=group, lease=LONG) as sub,
            ):
                deliveries = await receive(sub, len(owed))
                assert bodies(deliveries) == ordered(owed)
                chosen = chance.sample(deliveries, len(owed) // 3)
                await ack_all(chosen)
                owed -= {delivery.body for delivery in chosen}
        async with opened(harness) as channel:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                rest = await receive(sub, len(owed))
                assert bodies(rest) == ordered(owed)
                await ack_all(rest)
            await nothing_is_owed(channel, topic, group)

    @law("C13", unless=("out_of_order_ack",))
    async def test_acks_out_of_order_skip_nothing(self, harness: Harness) -> None:
        """C13: what was acked before the first unacked one is done; nothing unacked is skipped."""
        async with place(harness) as (channel, topic, group):
            is_total = channel.layer.capabilities.order == "total"
            await channel.publish_many(topic, range(6))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 6)
                await ack_all([deliveries[i] for i in (4, 2, 0)])
                first, *others = [delivery.body for delivery in deliveries]
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                seen = {d.body for d in await all_that_is_owed(channel, topic, sub)}
                assert {*others[::2]} <= seen <= {*others, *(() if is_total else (first,))}
            await nothing_is_owed(channel, topic, group)

    @law("C15")
    async def test_acking_a_batch_acks_its_members(self, harness: Harness) -> None:
        """C15: one settlement for all of them."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(20))
            seen = 0
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                with anyio.fail_after(soon()):
                    async for batch in sub.batches(8, wait=0.1):
                        await batch.ack()
                        seen += len(batch)
                        if seen == 20:
                            break
                assert sub.statistics().acked == 20
            await nothing_is_owed(channel, topic, group)

    @law("C15", needs=("reject",))
    async def test_a_batch_says_which_members_were_not_acked(self, harness: Harness) -> None:
        """C15: a member settled otherwise is named; the others are acked all the same."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(4))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                with anyio.fail_after(soon()):
                    batch = await anext(sub.batches(4, wait=5.0))
                assert len(batch) == 4
                await batch[1].reject()
                with pytest.raises(ExceptionGroup) as raised:
                    await batch.ack()
                assert [type(error) for error in raised.value.exceptions] == [AlreadySettled]
                assert sub.statistics().acked == 3
            await nothing_is_owed(channel, topic, group)
