"""Laws F3, I1 for fire-and-forget layers: what a full buffer drops, and the account of it."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import FireAndForgetSubscription, Overflow, StreamOverflow
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.fire_and_forget_steps import FEW, SEVERAL, accounted, bodies_of, hear
from acked.conformance.laws.steps import soon

__all__ = ("OverflowLaws",)


class OverflowLaws:
    """What a slow reader is told."""

    @law("F3", "B9", needs=("lossy",))
    async def test_drop_oldest_keeps_the_newest_and_tells_the_rest(self, harness: Harness) -> None:
        """F3, B9: as a reference deque; the count stands where the loss was, before the first."""
        topic = harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(topic, capacity=FEW, overflow=Overflow.DROP_OLDEST) as sub,
        ):
            await channel.publish_many(topic, range(SEVERAL))
            await accounted(sub, SEVERAL)
            heard = await hear(sub, FEW)
            assert bodies_of(heard) == list(range(SEVERAL))[-FEW:]
            assert [message.gap and message.gap.missed for message in heard] == [
                SEVERAL - FEW,
                *[None] * (FEW - 1),
            ]
            assert_reconciled(sub, SEVERAL)

    @law("F3", "B9", needs=("lossy",))
    async def test_drop_newest_keeps_the_oldest_and_tells_the_rest(self, harness: Harness) -> None:
        """F3, B9: the count comes with the first message after the loss."""
        topic = harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(topic, capacity=FEW, overflow=Overflow.DROP_NEWEST) as sub,
        ):
            await channel.publish_many(topic, range(SEVERAL))
            await accounted(sub, SEVERAL)
            heard = await hear(sub, FEW)
            assert bodies_of(heard) == list(range(FEW))
            assert {message.gap for message in heard} == {None}
            await channel.publish(topic, "after")
            (after,) = await hear(sub, 1)
            assert (after.body, after.gap and after.gap.missed) == ("after", SEVERAL - FEW)
            assert_reconciled(sub, SEVERAL + 1)

    @law("F3", needs=("lossy",))
    async def test_fail_lets_read_what_waits_and_then_raises_the_count(
        self, harness: Harness
    ) -> None:
        """F3: `StreamOverflow`, not a silent end."""
        topic = harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(topic, capacity=FEW, overflow=Overflow.FAIL) as sub,
        ):
            await channel.publish_many(topic, range(SEVERAL))
            await accounted(sub, SEVERAL)
            assert bodies_of(await hear(sub, FEW)) == list(range(FEW))
            with pytest.raises(StreamOverflow), anyio.fail_after(soon()):
                await anext(sub)

    @law("F3", "B9", needs=("lossy",))
    async def test_block_drops_nothing_that_the_layer_can_hold_back(self, harness: Harness) -> None:
        """F3, B9: whoever feeds the subscription waits; a slow reader hears it all."""
        topic = harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(topic, capacity=FEW, overflow=Overflow.BLOCK) as sub,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(channel.publish_many, topic, range(SEVERAL))
            heard: list[Any] = []
            while len(heard) < SEVERAL:
                await checkpoint()
                assert sub.statistics().buffered <= FEW
                heard += await hear(sub, 1)
            assert bodies_of(heard) == list(range(SEVERAL))
            assert {message.gap for message in heard} == {None}
            assert_reconciled(sub, SEVERAL)


def assert_reconciled(sub: FireAndForgetSubscription[Any], published: int) -> None:
    """I1: at rest, with the connection whole, nothing is unaccounted for."""
    seen = sub.statistics()
    assert seen.delivered + seen.missed + seen.buffered == published
    assert seen.unknown_gaps == 0
