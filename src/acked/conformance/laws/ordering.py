"""Laws E: order. Those about handlers that run side by side wait for workers."""

from acked import Record
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import in_claimed_order, nothing_is_owed
from acked.conformance.laws.steps import LONG, Place, ack_all, lease, place, receive, silent
from acked.types import Leased

__all__ = ("OrderingLaws",)


class OrderingLaws:
    """In which order messages come.

    Of the laws E, here are those of one consumer that reads one message after the other. E2, E3,
    E5 and E6 speak of several handlers at a time: they come with the workers.
    """

    @law("E1", needs=("order=total",))
    async def test_one_consumer_gets_a_topic_in_the_order_of_publishing(
        self, harness: Harness
    ) -> None:
        """E1: with no failures; in one publish or in several, with keys or without."""
        async with place(harness) as (channel, topic, group):
            keys = channel.layer.capabilities.keys
            await channel.publish_many(topic, range(40))
            for number in range(40, 50):
                await channel.publish(topic, number, key=str(number % 3) if keys else None)
            async with channel.subscribe(topic, group=group, in_flight=7, lease=LONG) as sub:
                got: list[object] = []
                for _ in range(50):
                    (delivery,) = await receive(sub, 1)
                    got.append(delivery.body)
                    await delivery.ack()
            assert got == list(range(50))

    @law("E1", needs=("keys",), unless=("order=none",))
    async def test_one_consumer_gets_each_key_in_the_order_of_publishing(
        self, harness: Harness
    ) -> None:
        """E1: with no failures."""
        async with place(harness) as (channel, topic, group):
            for number in range(30):
                await channel.publish(topic, number, key=f"key-{number % 3}")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 30)
                await ack_all(deliveries)
            for key in range(3):
                own = [d.body for d in deliveries if d.key == f"key-{key}"]
                assert own == list(range(key, 30, 3))

    @law("E4", needs=("nack", "order_after_nack"))
    async def test_a_nacked_message_comes_before_what_was_not_delivered(
        self, harness: Harness
    ) -> None:
        """E4: one at a time, a nacked message is the next one: nothing later overtakes it."""
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            for number in range(4):
                await channel.publish(topic, number, key="one" if can.keys else None)
            got: list[object] = []
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                for attempt in range(8):
                    (delivery,) = await receive(sub, 1)
                    got.append(delivery.body)
                    await (delivery.ack() if attempt % 2 else delivery.nack())
            assert got[::2] == got[1::2]
            assert in_claimed_order(can, got[::2], range(4))
            assert not can.keys or can.order == "none" or got[::2] == [0, 1, 2, 3]

    @law("E1", unless=("order=none",))
    async def test_order_is_that_of_publishing_and_not_of_what_was_published(
        self, harness: Harness
    ) -> None:
        """E1: with times that go backwards, and headers and ids that sort the other way."""
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            records = [
                Record(
                    *(topic, str(n).encode(), f"{50 - n}-{harness.topic('id')}"),
                    "one" if can.keys else None,
                    {"priority": str(n % 5)} if can.headers else {},
                    *("application/json", 1.7e9 - n),
                )
                for n in range(20)
            ]
            for first in range(0, 20, 5):
                await channel.layer.publish(records[first : first + 5])
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 20)
                await ack_all(deliveries)
            got = [delivery.body for delivery in deliveries]
            assert got == list(range(20)) if can.keys else in_claimed_order(can, got, range(20))

    @law("E4", "C2", needs=("order_after_nack", "order=total", "competing"))
    async def test_what_comes_back_comes_before_what_was_not_delivered(
        self, harness: Harness
    ) -> None:
        """E4, C2: released, left behind, or held by one whose lease has ended."""
        async with place(harness) as here:
            can = here.channel.layer.capabilities
            await here.channel.publish_many(here.topic, range(12))
            async with silent(here, harness, 4) as feed:
                first = await lease(feed, 4)
                if can.release:
                    await feed.release([one.token for one in reversed(first)])
                    assert bodies_of(await lease(feed, 4)) == bodies_of(first)
            async with silent(here, harness, 4) as feed:
                assert bodies_of(await lease(feed, 4)) == bodies_of(first)
                if can.lease == "timer":
                    await harness.pass_time(harness.lease * 1.5)
                    await self._all_in_order(here)
            if can.lease != "timer":
                await self._all_in_order(here)

    async def _all_in_order(self, here: Place) -> None:
        async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
            deliveries = await receive(sub, 12)
            assert [delivery.body for delivery in deliveries] == list(range(12))
            await ack_all(deliveries)
        await nothing_is_owed(*here)


def bodies_of(several: list[Leased]) -> list[bytes]:
    """Return what was leased, in its order."""
    return [one.record.body for one in several]
