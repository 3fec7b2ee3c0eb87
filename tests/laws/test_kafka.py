"""The laws on Kafka, in real time, on a real broker.

Kafka's leases are memberships. Laws about leases that end in time are replaced by Kafka's form of
the same claim, and those about the group's count of attempts by the consumer's own count.
"""

import signal

import anyio
import pytest

from acked import LeaseLost, Start
from acked.layers.kafka import KafkaLayer
from tests.laws.acknowledgement import (
    LONG,
    SOON,
    AcknowledgementLaws,
    ack_all,
    bodies,
    child,
    nothing_but_a_sentinel_comes,
    receive,
)
from tests.laws.flow import FlowLaws
from tests.laws.harness import Harness, RealTime, channel_of, fresh
from tests.laws.lifecycle import LifecycleLaws

pytestmark = pytest.mark.anyio

SESSION = 6.0
"""Seconds: the shortest that brokers allow by default."""


class KafkaTime(RealTime):
    def layer(self) -> KafkaLayer:
        return KafkaLayer.from_url(self.url or "")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def harness(kafka_broker) -> Harness:
    return KafkaTime(f"{kafka_broker.url}?create_topics=1&session_timeout={SESSION}")


class TestKafka(AcknowledgementLaws, FlowLaws, LifecycleLaws):
    async def test_what_a_silent_holder_had_comes_again_when_its_lease_ends(
        self, harness: Harness
    ) -> None:
        """C2: the lease is the membership: what was held comes again when the holder leaves."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            async with channel.layer.consume(
                [topic], group, in_flight=3, lease=LONG, start=Start.EARLIEST
            ) as silent:
                held: list[object] = []
                while len(held) < 3:
                    held.extend(await silent.receive(3 - len(held)))
            async with channel.subscribe(topic, group=group) as sub:
                again = await receive(sub, 3)
                assert bodies(again) == [0, 1, 2]
                await ack_all(again)

    async def test_a_killed_holders_messages_come_again_within_two_leases(
        self, harness: Harness
    ) -> None:
        """C2, H4: SIGKILL while holding; recovered when the session of the dead one has ended."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(4))
            async with child("hold", harness, topic, group, 4) as process:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                killed = harness.clock.time()
                async with channel.subscribe(topic, group=group) as sub:
                    again = await receive(sub, 4)
                    assert bodies(again) == [0, 1, 2, 3]
                    assert harness.clock.time() - killed < 2 * SESSION
                    await ack_all(again)

    async def test_a_stale_settlement_raises_and_spares_the_new_holder(
        self, harness: Harness
    ) -> None:
        """C7: settled after a rebalance, by each verb; the new holder's lease is untouched."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, in_flight=3) as old:
                stale = await receive(old, 3)
                async with channel.subscribe(topic, group=group, in_flight=3) as new:
                    for settle in (stale[0].ack, stale[1].nack, stale[2].reject):
                        with pytest.raises(LeaseLost):
                            await settle()
                    held = await self._from_either(old, new, 3)
                    assert bodies(held) == [0, 1, 2]
                    await ack_all(held)
            await nothing_but_a_sentinel_comes(channel, topic, group)

    async def test_a_handler_that_outlives_the_lease_keeps_its_message(
        self, harness: Harness
    ) -> None:
        """C12: a membership has no end in time, so a handler may take many times `lease`."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, in_flight=3, lease=0.1) as sub:
                (held,) = await receive(sub, 1)
                await harness.pass_time(1.0)
                await held.ack()
                rest = await receive(sub, 2)
                assert [d.attempt for d in rest] == [1, 1]
                await ack_all(rest)
            await nothing_but_a_sentinel_comes(channel, topic, group)

    async def test_attempts_count_every_redelivery_and_no_release(self, harness: Harness) -> None:
        """C16: `capabilities.attempts` is off: a consumer counts what it saw, a new one from 1."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            assert not channel.layer.capabilities.attempts
            await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group) as sub:
                for attempt in (1, 2, 3):
                    (delivery,) = await receive(sub, 1)
                    assert delivery.attempt == attempt
                    await delivery.nack()
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as feed:
                (leased,) = await feed.receive(1)
                assert leased.attempt == 1
                await feed.release([leased.token])
                (leased,) = await feed.receive(1)
                assert leased.attempt == 1

    async def test_held_plus_buffered_never_exceeds_in_flight(self, harness: Harness) -> None:
        """F1: a partition is one member's; what it may not hold waits at the broker."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, in_flight=3) as small:
                three = await receive(small, 3)
                async with channel.subscribe(topic, group=fresh("group")) as all_of_it:
                    await ack_all(await receive(all_of_it, 10))  # so they were there to be read
                statistics = small.statistics()
                assert statistics.held + statistics.buffered == 3
                await ack_all(three)
                rest = []
                for _ in range(7):
                    rest += (more := await receive(small, 1))
                    await ack_all(more)
                assert bodies(three + rest) == list(range(10))

    async def _from_either(self, one, other, count: int):
        got: list = []
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as tasks:

                async def read(subscription) -> None:
                    async for delivery in subscription:
                        got.append(delivery)
                        if len(got) == count:
                            tasks.cancel_scope.cancel()

                tasks.start_soon(read, one)
                tasks.start_soon(read, other)
        return got
