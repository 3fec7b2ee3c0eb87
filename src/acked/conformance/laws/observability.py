"""Laws I: what can be seen from outside, and what must not be."""

import logging

import anyio
import pytest

from acked import RAW, Record, Redelivery, Start, Topic
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    introduce,
    lease,
    one_good_and_one_bad,
    place,
    receive,
    soon,
)
from acked.types import Settlement, Verb

__all__ = ("ObservabilityLaws",)

SECRET = "s3cret-of-the-payload"  # noqa: S105 - what must not be seen


class ObservabilityLaws:
    """Counters that reconcile, and payloads that stay out of sight."""

    @law("I1", needs=("nack", "reject"))
    async def test_the_counters_reconcile_at_rest(self, harness: Harness) -> None:
        """I1: delivered = acked + nacked + rejected + lost + released + held."""
        async with place(harness) as (channel, topic, group):
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, in_flight=9, lease=LONG) as sub:
                deliveries = await receive(sub, 7)
                for delivery in deliveries[:3]:
                    await delivery.ack()
                await deliveries[3].nack()
                await deliveries[4].reject()
                rest = await receive(sub, 4)
                again = next(delivery for delivery in rest if delivery.attempt == 2)
                at_rest = sub.statistics()
                assert at_rest.delivered == 11
                assert (at_rest.acked, at_rest.nacked, at_rest.rejected) == (3, 1, 1)
                assert (at_rest.lost, at_rest.released, at_rest.held) == (0, 0, 6)
                await again.ack()
            left = sub.statistics()
            assert (left.acked, left.released, left.held, left.buffered) == (4, 5, 0, 0)
            assert left.delivered == left.acked + left.nacked + left.rejected + left.released
            assert left.open_bytes == 0

    @law("I1", needs=("dead_letter", "nack", "attempts"))
    async def test_what_the_engine_buried_was_not_delivered(self, harness: Harness) -> None:
        """I1: it is counted by itself; what was delivered adds up without it."""
        dead = harness.topic("dead")
        policy = Redelivery(max_deliveries=1, dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=group)
            await channel.publish_many(topic, ["bad", "good"])
            async with (
                channel.subscribe(topic, group=group, redelivery=policy, lease=LONG) as sub,
                channel.subscribe(dead, group=group, lease=LONG) as letters,
            ):
                first, second = await receive(sub, 2)
                await first.nack()
                await second.ack()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anext, sub)  # so that it is fetched
                    (buried,) = await receive(letters, 1)
                    await buried.ack()
                    assert buried.body == first.body
                    with anyio.fail_after(soon()):
                        while sub.statistics().dead_lettered < 1:
                            await anyio.sleep(0.001)
                    tasks.cancel_scope.cancel()
                now = sub.statistics()
                assert (now.delivered, now.acked, now.nacked) == (2, 1, 1)
                assert (now.dead_lettered, now.rejected, now.held) == (1, 0, 0)
            await nothing_is_owed(channel, topic, group)

    @law("I4")
    async def test_a_payload_is_never_in_a_log_or_a_repr(
        self, harness: Harness, caplog: pytest.LogCaptureFixture
    ) -> None:
        """I4: nor a header's value; of nothing that a user sees, in good days and in bad."""
        caplog.set_level(logging.INFO)  # what clients of brokers say when debugging is theirs
        caplog.set_level(logging.DEBUG, logger="acked")
        seen: list[object] = []
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            headers = {"token": SECRET} if can.headers else None
            seen += [channel, channel.layer, await channel.publish(topic, SECRET, headers=headers)]
            seen += [repr(one) for one in seen]  # while the message is kept
            await channel.publish(Topic(topic, bytes, codec=RAW), b"\xff" + SECRET.encode())
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                delivery, raised = await one_good_and_one_bad(sub)
                owed = raised.delivery
                seen += [
                    repr(channel.layer),
                    sub,
                    delivery,
                    sub.statistics(),
                    raised,
                    raised.args,
                    owed,
                ]
                await (delivery.reject("no such customer") if can.reject else delivery.ack())
                assert owed is not None
                await owed.ack()
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as feed:
                await channel.layer.publish([Record(topic, SECRET.encode(), harness.topic("id"))])
                (leased,) = await lease(feed, 1)
                seen += [feed, leased, leased.token, leased.record]
                await feed.settle([Settlement(leased.token, Verb.ACK)])
        words = [repr(one) for one in seen] + [str(one) for one in seen]
        words += [record.getMessage() for record in caplog.records]
        assert [text for text in words if SECRET in text] == []
