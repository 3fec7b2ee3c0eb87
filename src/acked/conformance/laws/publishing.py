"""Laws A: publishing and fidelity. What `publish` takes arrives as it was, or it says so."""

import re
from collections import Counter
from typing import Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import (
    RAW,
    CapabilityError,
    ChannelClosed,
    ConfigurationError,
    EncodeError,
    MessageTooLarge,
    PublishFailed,
    Record,
    Start,
    Topic,
)
from acked.conformance.child import child
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    nothing_is_owed,
    opened,
    place,
    receive,
    receive_bytes,
    received_until,
    soon,
)
from acked.types import Settlement, Verb

__all__ = ("PublishingLaws",)

MEBIBYTE: Final = 1024 * 1024

BODIES: Final = (
    b"",
    b"\x00",
    b"\x00\x00 two NULs and a newline\r\n",
    b"\xff" * 7,
    "grüße 🎈".encode(),
    "latin: grüße".encode("latin-1"),
    bytes(range(256)),
    bytes(range(255, -1, -1)) * 400,
)

HEADERS: Final = {
    "source": "web",
    "empty": "",
    "Case-Kept": "UPPER lower",
    "umlaut-ä": "grüße, 雨, 🎈",
    "with space": " leading and trailing ",
    "colon:equals=": "a:b=c;d,e",
    "line": "first\nsecond",
    "acked-like": "acked-",
}

ILLEGAL_NAMES: Final = ("a b", "#", "+", "$a", "acked:{a}", "a/b", "ä", "\ufffe")
"""Names of topics, one of which any `topic_pattern` that is worth having refuses."""


class PublishingLaws:
    """What is accepted arrives as it was given; what cannot be carried is refused."""

    @law("A1")
    async def test_bodies_arrive_byte_for_byte(self, harness: Harness) -> None:
        """A1: empty, NUL, 0xFF, what is not UTF-8, and a hundred kilobytes."""
        async with place(harness) as (channel, name, group):
            topic = Topic(name, bytes, codec=RAW)
            limit = channel.layer.capabilities.max_payload
            small = [body for body in BODIES if limit is None or len(body) <= limit]
            await channel.publish_many(topic, small)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                assert await receive_bytes(sub, len(small)) == small

    @law("A1")
    async def test_a_body_of_the_largest_size_arrives(self, harness: Harness) -> None:
        """A1: of `max_payload` bytes, or of four mebibytes where it is more."""
        async with place(harness) as (channel, name, group):
            topic = Topic(name, bytes, codec=RAW)
            limit = channel.layer.capabilities.max_payload or 4 * MEBIBYTE
            body = bytes(range(256)) * (min(limit, 4 * MEBIBYTE) // 256 + 1)
            body = body[: min(limit, 4 * MEBIBYTE)]
            await channel.publish(topic, body)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                assert (await receive_bytes(sub, 1))[0] == body

    @law("A2", needs=("max_payload",))
    async def test_one_byte_more_is_refused_before_anything_is_sent(self, harness: Harness) -> None:
        """A2: `MessageTooLarge`, for the whole of a publish of several."""
        async with place(harness) as (channel, name, group):
            topic = Topic(name, bytes, codec=RAW)
            limit = channel.layer.capabilities.max_payload
            assert limit is not None
            with pytest.raises(MessageTooLarge) as raised:
                await channel.publish_many(topic, [b"small", bytes(limit + 1)])
            assert (raised.value.size, raised.value.limit) == (limit + 1, limit)
            await channel.publish(topic, b"sentinel")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                assert await receive_bytes(sub, 1) == [b"sentinel"]

    @law("A3", needs=("headers",))
    async def test_headers_arrive_as_they_were(self, harness: Harness) -> None:
        """A3: names and values of any legal text, none added, none lost, none changed."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, 1, headers=HEADERS)
            await channel.publish(topic, 2)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second = await receive(sub, 2)
                await ack_all([first, second])
                assert dict(first.headers) == HEADERS
                assert dict(second.headers) == {}

    @law("A3", needs=("headers",))
    async def test_headers_that_cannot_be_carried_are_refused(self, harness: Harness) -> None:
        """A3: refused with nothing sent, never mangled."""
        async with place(harness) as (channel, topic, group):
            for headers in ({"a": "\ud800"}, {"\udfff": "a"}, {"a": 1}):
                with pytest.raises(EncodeError):
                    await channel.publish(topic, 1, headers=headers)  # type: ignore[arg-type]
            await nothing_is_owed(channel, topic, group)

    @law("A3", unless=("headers",))
    async def test_headers_that_are_not_offered_are_refused(self, harness: Harness) -> None:
        """A3: refused, not dropped on the way."""
        async with place(harness) as (channel, topic, group):
            with pytest.raises(CapabilityError):
                await channel.publish(topic, 1, headers={"source": "web"})
            await nothing_is_owed(channel, topic, group)

    @law("A4")
    async def test_what_travels_beside_a_body_arrives_as_it_was(self, harness: Harness) -> None:
        """A4: id, topic, content type, timestamp; key and headers where the layer has them."""
        async with place(harness) as (channel, topic, group):
            can = channel.layer.capabilities
            record = Record(
                topic,
                b"\x00body",
                harness.topic("id"),
                key="customer-ä 7" if can.keys else None,
                headers={"source": "web"} if can.headers else {},
                content_type="application/x-law",
                timestamp=1_700_000_000.123456,
            )
            (receipt,) = await channel.layer.publish([record])
            assert (receipt.id, receipt.topic) == (record.id, topic)
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as feed:
                (leased,) = await lease(feed, 1)
                assert leased.record == record
                await feed.settle([Settlement(leased.token, Verb.ACK)])

    @law("A4", unless=("keys",))
    async def test_a_key_that_is_not_offered_is_refused(self, harness: Harness) -> None:
        """A4: refused, not dropped on the way."""
        async with place(harness) as (channel, topic, group):
            with pytest.raises(CapabilityError):
                await channel.publish(topic, 1, key="customer-7")
            await nothing_is_owed(channel, topic, group)

    @law("A5", needs=("topic_pattern",))
    async def test_a_topic_that_cannot_be_carried_is_refused(self, harness: Harness) -> None:
        """A5: in publishing and in subscribing, before anything is done."""
        async with opened(harness) as channel:
            pattern = re.compile(channel.layer.capabilities.topic_pattern or "")
            illegal = [name for name in ILLEGAL_NAMES if not pattern.fullmatch(name)]
            assert illegal, "the topic_pattern refuses nothing: leave it out"
            for name in illegal:
                with pytest.raises(ConfigurationError):
                    await channel.publish(name, 1)
                with pytest.raises(ConfigurationError):
                    channel.subscribe(name, group=harness.group())

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
            if channel.layer.capabilities.order != "none":
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
            with anyio.fail_after(soon()):
                await channel.publish(topic, "last")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                arrived = Counter(d.id for d in await received_until(sub, "last"))
            accepted = {records[n].id for n in range(3) if n not in raised.value.failures}
            assert accepted <= set(arrived)
            assert max(arrived.values()) == 1

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
                await channel.publish(topic, "last")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                arrived = [delivery.body for delivery in await received_until(sub, "last")]
            assert accepted <= set(arrived) <= {*range(steps), "last"} | accepted
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
