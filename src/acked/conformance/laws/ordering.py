"""Laws E: order. Those about handlers that run side by side wait for workers."""

from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import in_claimed_order
from acked.conformance.laws.steps import LONG, ack_all, place, receive

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
