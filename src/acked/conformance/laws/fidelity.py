"""Laws A1-A5: what `publish` takes arrives as it was, or it says so."""

import re
from typing import Final

import pytest

from acked import (
    RAW,
    CapabilityError,
    ConfigurationError,
    EncodeError,
    MessageTooLarge,
    Record,
    Start,
    Topic,
)
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import in_claimed_order, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    lease,
    opened,
    place,
    receive,
    receive_bytes,
)
from acked.types import Settlement, Verb

__all__ = ("FidelityLaws",)

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


class FidelityLaws:
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
                got = await receive_bytes(sub, len(small))
                assert in_claimed_order(channel.layer.capabilities, got, small)

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
                deliveries = await receive(sub, 2)
                await ack_all(deliveries)
                headers = {delivery.body: dict(delivery.headers) for delivery in deliveries}
                assert headers == {1: HEADERS, 2: {}}

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
