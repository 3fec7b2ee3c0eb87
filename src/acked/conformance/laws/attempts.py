"""Laws C16: how often a message was delivered, and what counts as a delivery."""

import anyio

from acked import Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    Place,
    introduce,
    lease,
    opened,
    place,
    receive,
    silent,
)
from acked.types import Settlement, Verb

__all__ = ("AttemptLaws",)


class AttemptLaws:
    """The number that a delivery carries."""

    @law("C16", needs=("attempts", "nack", "release", "lease=timer"))
    async def test_attempts_count_every_redelivery_and_no_release(self, harness: Harness) -> None:
        """C16: +1 by nack, by a break, by a lease that ended; none by a release."""
        async with place(harness) as here:
            await here.channel.publish(here.topic, "body")
            assert await self._attempt(here, harness, "nack") == 1
            assert await self._attempt(here, harness, "break") == 2
            assert await self._attempt(here, harness, "cancel") == 3
            assert await self._attempt(here, harness, "cancel") == 3
            assert await self._attempt(here, harness, "nack") == 3
            async with here.channel.layer.consume(
                [here.topic], here.group, in_flight=1, lease=harness.lease, start=Start.EARLIEST
            ) as feed:
                (leased,) = await lease(feed, 1)
                assert leased.attempt == 4
                await harness.pass_time(harness.lease * 1.5)
                assert await self._attempt(here, harness, "ack") == 5

    @law("C16", "C3", needs=("attempts", "nack"))
    async def test_attempts_count_on_and_on(self, harness: Harness) -> None:
        """C16, C3: to more than ten; also over a channel that is closed and opened again."""
        topic, group = harness.topic(), harness.group()
        async with opened(harness) as channel:
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(2))
        for first in (1, 9):
            async with (
                opened(harness) as channel,
                channel.subscribe(topic, group=group, lease=LONG) as sub,
            ):
                for attempt in range(first, first + 8):
                    both = await receive(sub, 2)
                    assert {delivery.attempt for delivery in both} == {attempt}
                    for delivery in both:
                        await (delivery.ack() if attempt == 16 else delivery.nack())
        async with opened(harness) as channel:
            await nothing_is_owed(channel, topic, group)

    @law("C16", "C2", needs=("attempts", "lease=timer"))
    async def test_leaving_with_what_one_holds_is_an_attempt(self, harness: Harness) -> None:
        """C16, C2: again and again, of a consumer that nobody settles anything for."""
        async with place(harness) as here:
            await here.channel.publish(here.topic, "body")
            for attempt in (1, 2, 3):
                async with silent(here, harness, 1) as feed:
                    (held,) = await lease(feed, 1)
                    assert held.attempt == attempt
                    if attempt == 3:
                        await feed.settle([Settlement(held.token, Verb.ACK)])
            await nothing_is_owed(*here)

    @law("C16", needs=("nack",), unless=("attempts",))
    async def test_attempts_count_what_this_consumer_saw(self, harness: Harness) -> None:
        """C16: the broker keeps no count, so a consumer counts from 1, one for each nack."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group) as sub:
                for attempt in (1, 2, 3):
                    (delivery,) = await receive(sub, 1)
                    assert delivery.attempt == attempt
                    await (delivery.ack() if attempt == 3 else delivery.nack())
            await nothing_is_owed(channel, topic, group)

    @law("C16", needs=("release",))
    async def test_a_release_is_no_attempt(self, harness: Harness) -> None:
        """C16: what nobody saw was not delivered; it is free at once."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as feed:
                for _ in range(3):
                    (leased,) = await lease(feed, 1)
                    assert leased.attempt == 1
                    await feed.release([leased.token])
            async with (
                opened(harness) as other,
                other.subscribe(topic, group=group, lease=LONG) as sub,
            ):
                (delivery,) = await receive(sub, 1)
                assert delivery.attempt == 1
                await delivery.ack()

    async def _attempt(self, here: Place, harness: Harness, ending: str) -> int:
        """Consume one message, end it so, and return which attempt it was."""
        attempt = 0
        with anyio.CancelScope() as scope:
            subscription = here.channel.subscribe(here.topic, group=here.group, lease=harness.lease)
            async with subscription as sub:
                (delivery,) = await receive(sub, 1)
                attempt = delivery.attempt
                if ending == "nack":
                    await delivery.nack()
                elif ending == "ack":
                    await delivery.ack()
                elif ending == "cancel":
                    scope.cancel()
                    await anyio.sleep_forever()
        return attempt
