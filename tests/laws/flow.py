"""Laws F: flow."""

import anyio
import pytest

from acked import CapabilityError, Overflow
from tests.laws.acknowledgement import LONG, SOON, ack_all, bodies, receive
from tests.laws.harness import Harness, channel_of, fresh


class FlowLaws:
    """What is fetched, and what is never dropped."""

    async def test_held_plus_buffered_never_exceeds_in_flight(self, harness: Harness) -> None:
        """F1: what one consumer may not hold is there for another."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, in_flight=3, lease=LONG) as small:
                three = await receive(small, 3)
                async with channel.subscribe(topic, group=group, lease=LONG) as other:
                    seven = await receive(other, 7)
                    assert bodies(three + seven) == list(range(10))
                    statistics = small.statistics()
                    assert statistics.held + statistics.buffered == 3
                    await ack_all(three + seven)

    async def test_a_window_moves_on_as_it_is_settled(self, harness: Harness) -> None:
        """F1: never above the bound at any moment, and all of it gets through."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(100))
            async with channel.subscribe(topic, group=group, in_flight=4, lease=LONG) as sub:
                seen: list[object] = []
                with anyio.fail_after(SOON):
                    while len(seen) < 100:
                        delivery = await anext(sub)
                        statistics = sub.statistics()
                        assert statistics.held + statistics.buffered <= 4
                        seen.append(delivery.body)
                        await delivery.ack()
                assert seen == list(range(100))  # E1: one consumer, no failures: publish order

    async def test_debts_are_not_dropped_so_there_is_no_overflow_policy(
        self, harness: Harness
    ) -> None:
        """F3, F4: the drop policies are refused, and nothing was subscribed."""
        channel = channel_of(harness)
        for policy in Overflow:
            with pytest.raises(CapabilityError, match="overflow="):
                channel.subscribe("t", group="g", overflow=policy)  # type: ignore[call-overload]
