"""Laws A6-A12: what `publish` returns, raises and leaves behind. Fidelity is in `fidelity`."""

from collections import Counter

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import ChannelClosed, EncodeError, Publish, PublishFailed, Record, Topic
from acked.conformance.child import child
from acked.conformance.harness import Harness, fresh
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    opened,
    place,
    receive,
    soon,
)

__all__ = ("PublishingLaws",)


class PublishingLaws:
    """What is accepted is whole, counted and ours; what is not is said to be."""

    @law("A6")
    async def test_publishing_on_a_closed_channel_raises(self, harness: Harness) -> None:
        """A6: before it was opened and after it was closed; it does not hang."""
        channel = opened(harness)
        topic = harness.topic()
        with anyio.fail_after(soon()):
            with pytest.raises(ChannelClosed):
                await channel.publish(topic, 1)
            async with channel:
                await introduce(channel, topic, group=harness.group())
                await channel.publish(topic, 1)
            with pytest.raises(ChannelClosed):
                await channel.publish(topic, 1)

    @law("A7")
    async def test_concurrent_publishers_lose_nothing(self, harness: Harness) -> None:
        """A7: twenty tasks over one channel; each message once, each task's in its order."""
        tasks_count, each = 20, 4
        async with place(harness) as (channel, topic, group):

            async def publish(number: int) -> None:
                for n in range(each):
                    await channel.publish(topic, [number, n], key=key_of(number))

            def key_of(number: int) -> str | None:
                return str(number) if channel.layer.capabilities.keys else None

            with anyio.fail_after(2 * soon()):
                async with anyio.create_task_group() as tasks:
                    for number in range(tasks_count):
                        tasks.start_soon(publish, number)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, tasks_count * each)
                await ack_all(deliveries)
            assert len({delivery.id for delivery in deliveries}) == tasks_count * each
            order, keys = channel.layer.capabilities.order, channel.layer.capabilities.keys
            if order == "total" or (order != "none" and keys):
                for number in range(tasks_count):
                    own = [d.body for d in deliveries if d.body[0] == number]  # type: ignore[index]
                    assert own == [[number, n] for n in range(each)]
            await nothing_is_owed(channel, topic, group)

    @law("A8")
    async def test_a_batch_has_a_receipt_for_each_member_in_order(self, harness: Harness) -> None:
        """A8: the ids of the receipts are those that arrive; an empty batch has none."""
        async with place(harness) as (channel, topic, group):
            assert list(await channel.publish_many(topic, [])) == []
            receipts = await channel.publish_many(topic, range(30))
            assert {receipt.topic for receipt in receipts} == {topic}
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 30)
                await ack_all(deliveries)
            arrived = {delivery.id: delivery.body for delivery in deliveries}
            assert [arrived[receipt.id] for receipt in receipts] == list(range(30))

    @law("A8")
    async def test_a_batch_with_a_member_that_cannot_be_encoded_is_not_sent(
        self, harness: Harness
    ) -> None:
        """A8: none of it is."""
        async with place(harness) as (channel, topic, group):
            with pytest.raises(EncodeError):
                await channel.publish_many(topic, [1, object(), 2])
            await nothing_is_owed(channel, topic, group)

    @law("A8", needs=("keys", "headers"))
    async def test_each_member_of_a_batch_keeps_what_is_its_own(self, harness: Harness) -> None:
        """A8: its topic, key, headers and id, beside members that have none."""
        other = harness.topic()
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, other, group=group)
            messages = [
                Publish(topic, 1, key="k", headers={"a": "1"}, id=fresh("id")),
                Publish(topic, 2),
                Publish(other, 3, key="k", headers={"b": "2"}),
                Publish(topic, 4, id=fresh("id")),
            ]
            receipts = await channel.publish_many(messages)
            assert [receipt.topic for receipt in receipts] == [topic, topic, other, topic]
            async with channel.subscribe(topic, other, group=group, lease=LONG) as sub:
                got = {one.body: one for one in await receive(sub, len(messages))}
                for message, receipt in zip(messages, receipts, strict=True):
                    one = got[message.body]
                    assert one.id == receipt.id == (message.id or receipt.id)
                    assert (one.topic, one.key) == (message.topic, message.key)
                    assert dict(one.headers) == (message.headers or {})
                    await one.ack()

    @law("A8", needs=("publish_confirm", "replay"), hooks=("refuse",))
    async def test_what_the_broker_refuses_is_not_said_to_be_accepted(
        self, harness: Harness
    ) -> None:
        """A8: the members that it refused are named; where it takes others, they are not."""
        assert harness.refuse is not None
        full = harness.topic("full")
        async with place(harness) as (channel, topic, group):
            await harness.refuse(full)
            records = [Record(name, b"1", harness.topic("id")) for name in (topic, full, topic)]
            with pytest.raises(PublishFailed) as raised, anyio.fail_after(2 * soon()):
                await channel.layer.publish(records)
            assert 1 in raised.value.failures
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                arrived = Counter(d.id for d in await all_that_is_owed(channel, topic, sub))
            accepted = {records[n].id for n in range(3) if n not in raised.value.failures}
            assert accepted <= set(arrived)
            assert set(arrived.values()) <= {1}  # where all or none is accepted, none came
            if not raised.value.indeterminate:
                assert set(arrived) == accepted, "what was said to be refused was not accepted"

    @law("A9", "A10")
    async def test_a_cancelled_publish_is_whole_or_absent(self, harness: Harness) -> None:
        """A9, A10: cancelled at every step of it; the connection goes on as if nothing was."""
        steps = 15
        async with place(harness) as (channel, topic, group):
            accepted: set[object] = set()

            async def publish(body: int) -> None:
                await channel.publish(topic, body, headers={})
                accepted.add(body)

            for step in range(steps):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(publish, step)
                    for _ in range(step):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
            with anyio.fail_after(soon()):
                await publish(steps)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                arrived = [d.body for d in await all_that_is_owed(channel, topic, sub)]
            assert accepted <= set(arrived) <= set(range(steps + 1))
            assert len(arrived) == len(set(arrived))
            await nothing_is_owed(channel, topic, group)

    @law("A11", needs=("persistent",), hooks=("url",))
    async def test_what_was_accepted_survives_sigkill_of_the_publisher(
        self, harness: Harness
    ) -> None:
        """A11: in a child process whose next line after `await publish()` is SIGKILL to itself."""
        assert harness.url is not None
        async with place(harness) as (channel, topic, group):
            publishing = child("publish", harness.url, topic, group, 5, lease=harness.lease)
            async with publishing as process:
                with anyio.fail_after(soon()):
                    await process.wait()
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 5)
                assert bodies(deliveries) == [0, 1, 2, 3, 4]
                await ack_all(deliveries)

    @law("A12", needs=("headers", "groups"))
    async def test_nobody_shares_what_another_one_can_change(self, harness: Harness) -> None:
        """A12: neither the publisher with the consumers nor one group with another."""
        other_group = harness.group()
        async with place(harness) as (channel, plain, group):
            await introduce(channel, plain, group=other_group)
            topic = Topic(plain, dict[str, list[int]])
            body, headers = {"list": [1]}, {"source": "web"}
            await channel.publish(topic, body, headers=headers)
            body["list"].append(2)
            headers["source"] = "changed"
            for name in (group, other_group):
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    with anyio.fail_after(soon()):
                        delivery = await anext(sub)
                    assert delivery.body == {"list": [1]}
                    assert dict(delivery.headers) == {"source": "web"}
                    delivery.body["list"].append(3)
                    await delivery.ack()
