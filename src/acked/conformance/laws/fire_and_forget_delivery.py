"""Laws A and B for fire-and-forget layers: whoever listens hears what is published, as it was."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import RAW, CapabilityError, EncodeError, Message, MessageTooLarge, Overflow, Topic
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.fidelity import BODIES, HEADERS
from acked.conformance.laws.fire_and_forget_steps import (
    FEW,
    SEVERAL,
    accounted,
    bodies_of,
    hear,
    hear_all,
)

__all__ = ("FireAndForgetDeliveryLaws",)


class FireAndForgetDeliveryLaws:
    """Who hears what."""

    @law("A1", needs=("lossy",))
    async def test_bodies_are_heard_byte_for_byte(self, harness: Harness) -> None:
        """A1: empty, NUL, 0xFF, what is not UTF-8; each as large as the layer carries."""
        topic = Topic(harness.topic(), bytes, codec=RAW)
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            limit = channel.layer.capabilities.max_payload
            small = [body for body in BODIES if limit is None or 4 * len(body) < 3 * limit]
            for body in small:
                await channel.publish(topic, body)
            assert bodies_of(await hear(sub, len(small))) == small

    @law("A1", needs=("lossy",))
    async def test_equal_bodies_are_each_heard(self, harness: Harness) -> None:
        """A1: five in one publish, and one more alone."""
        topic = harness.topic()
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            await channel.publish_many(topic, ["same"] * 5)
            await channel.publish(topic, "same")
            assert bodies_of(await hear(sub, 6)) == ["same"] * 6

    @law("A2", needs=("lossy", "max_payload"))
    async def test_a_body_over_the_limit_is_refused_before_anything_is_sent(
        self, harness: Harness
    ) -> None:
        """A2: `MessageTooLarge`; and none of the others of the same publish is sent."""
        topic = Topic(harness.topic(), bytes, codec=RAW)
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            limit = channel.layer.capabilities.max_payload
            with pytest.raises(MessageTooLarge):
                await channel.publish_many(topic, [b"small", bytes(limit + 1)])
            await channel.publish(topic, b"sentinel")
            assert bodies_of(await hear(sub, 1)) == [b"sentinel"]

    @law("A3", "A4", needs=("lossy", "headers", "keys"))
    async def test_what_travels_beside_a_body_is_heard_as_it_was(self, harness: Harness) -> None:
        """A3, A4: headers, key, topic; two messages have two ids."""
        topic = harness.topic()
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            await channel.publish(topic, 1, key="ключ", headers=HEADERS)
            await channel.publish(topic, 2)
            first, second = await hear(sub, 2)
            assert (first.key, dict(first.headers), first.topic) == ("ключ", HEADERS, topic)
            assert (second.key, dict(second.headers), second.topic) == (None, {}, topic)
            assert first.id != second.id

    @law("A3", needs=("lossy", "headers"))
    async def test_what_cannot_be_carried_is_refused_unsent(self, harness: Harness) -> None:
        """A3: refused with nothing sent, never mangled."""
        topic = harness.topic()
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            with pytest.raises(EncodeError):
                await channel.publish(topic, 1, headers={"a": "\ud800"})
            await channel.publish(topic, "sentinel")
            assert bodies_of(await hear(sub, 1)) == ["sentinel"]

    @law("A7", "B9", needs=("lossy",))
    async def test_concurrent_publishers_are_all_heard(self, harness: Harness) -> None:
        """A7, B9: each message once; what one publisher said one after the other stays in order."""
        topic = harness.topic()
        async with harness.channel() as channel, channel.subscribe(topic) as sub:

            async def publish(name: int) -> None:
                for number in range(FEW):
                    await channel.publish(topic, [name, number])

            async with anyio.create_task_group() as tasks:
                for name in range(SEVERAL):
                    tasks.start_soon(publish, name)
            heard = bodies_of(await hear(sub, SEVERAL * FEW))
            for name in range(SEVERAL):
                assert [n for who, n in heard if who == name] == list(range(FEW))

    @law("A9", "A10", needs=("lossy",))
    async def test_a_cancelled_publish_leaves_the_layer_usable(self, harness: Harness) -> None:
        """A9, A10: each is whole or absent, and the next one is heard."""
        topic = harness.topic()
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            for number in range(SEVERAL):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(channel.publish, topic, number)
                    for _ in range(number % 7):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
            await channel.publish(topic, "last")
            heard = bodies_of(await hear_all(sub, "last"))[:-1]
            assert len(heard) == len(set(heard))
            assert set(heard) <= set(range(SEVERAL))

    @law("B2", needs=("lossy",))
    async def test_topics_do_not_hear_one_another(self, harness: Harness) -> None:
        """B2: names that are prefixes of one another, and differ in case alone."""
        short = harness.topic()
        long, upper = f"{short}x", short.upper()
        async with (
            harness.channel() as channel,
            channel.subscribe(short) as one,
            channel.subscribe(long, upper) as two,
        ):
            for topic in (long, short, upper, long, short):
                await channel.publish(topic, topic)
            assert bodies_of(await hear(one, 2)) == [short, short]
            assert sorted(bodies_of(await hear(two, 3))) == sorted([long, upper, long])

    @law("B3", needs=("lossy",))
    async def test_whatever_is_published_after_entering_is_heard(self, harness: Harness) -> None:
        """B3: the first message too, on a topic that is new, through a channel that is not ours."""
        async with harness.channel() as ours:
            theirs = ours if harness.shares_layer else harness.channel()
            await self._each_first_message_is_heard(harness, ours, theirs)

    async def _each_first_message_is_heard(self, harness: Harness, ours: Any, theirs: Any) -> None:
        if theirs is not ours:
            await theirs.__aenter__()
        try:
            for number in range(10):
                topic = harness.topic()
                async with ours.subscribe(topic) as sub:
                    await theirs.publish(topic, number)
                    assert bodies_of(await hear(sub, 1)) == [number]
        finally:
            if theirs is not ours:
                await theirs.aclose()

    @law("B1", "B3", "B9", needs=("lossy",))
    async def test_every_subscription_hears_everything_once_and_in_order(
        self, harness: Harness
    ) -> None:
        """B1, B3, B9: two of the same topic, one of several; nothing invented, nothing twice."""
        one, other = harness.topic(), harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(one) as first,
            channel.subscribe(one) as second,
            channel.subscribe(one, other) as both,
        ):
            for number in range(SEVERAL):
                await channel.publish(other if number % 3 == 0 else one, number)
            expected = [number for number in range(SEVERAL) if number % 3]
            for sub in (first, second):
                heard = await hear(sub, len(expected))
                assert bodies_of(heard) == expected
                assert {message.gap for message in heard} == {None}
            numbers = bodies_of(await hear(both, SEVERAL))
            assert sorted(numbers) == list(range(SEVERAL))
            assert [number for number in numbers if number % 3] == expected

    @law("B6", needs=("lossy", "patterns"))
    async def test_a_pattern_brings_what_matches_once(self, harness: Harness) -> None:
        """B6: by the matcher of `acked`; once, if several match; `topic` is its own name."""
        root = harness.topic()
        matching = [f"{root}.a", f"{root}.ab", f"{root}.[b]"]
        others = [root, f"{root}-a", f"x{root}.a", f"{root}.".upper() + "A"]
        async with (
            harness.channel() as channel,
            channel.subscribe(f"{root}.*", f"{root}.a?", f"{root}.\\[b\\]", patterns=True) as sub,
        ):
            for topic in (*others, *matching, *others):
                await channel.publish(topic, topic)
            await channel.publish(f"{root}.end", "end")
            heard = await hear_all(sub, "end")
            assert bodies_of(heard) == [*matching, "end"]
            assert [message.topic for message in heard] == [*matching, f"{root}.end"]

    @law("B6", needs=("lossy",), unless=("patterns",))
    async def test_patterns_that_are_not_offered_are_refused(self, harness: Harness) -> None:
        """B6: refused at once; and a star in a plain name is a star, or an illegal name."""
        async with harness.channel() as channel:
            with pytest.raises(CapabilityError):
                channel.subscribe("a*", patterns=True)

    @law("B8", needs=("lossy",))
    async def test_a_stuck_reader_holds_back_no_other(self, harness: Harness) -> None:
        """B8: neither another subscription of its topic nor another topic."""
        busy, quiet = harness.topic(), harness.topic()
        async with (
            harness.channel() as channel,
            channel.subscribe(busy, capacity=1, overflow=Overflow.DROP_NEWEST) as stuck,
            channel.subscribe(busy, capacity=SEVERAL) as prompt,
            channel.subscribe(quiet) as other,
        ):
            for number in range(SEVERAL):
                await channel.publish(busy, number)
            await channel.publish(quiet, "quiet")
            assert bodies_of(await hear(other, 1)) == ["quiet"]
            assert bodies_of(await hear(prompt, SEVERAL)) == list(range(SEVERAL))
            await accounted(stuck, SEVERAL)
            assert stuck.statistics().missed == SEVERAL - 1

    @law("I4", needs=("lossy",))
    async def test_payloads_do_not_show(self, harness: Harness) -> None:
        """I4: in no repr of a message, a subscription, a channel or a layer."""
        topic, secret = harness.topic(), "s3cr3t-payload"
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            await channel.publish(topic, secret, headers={"h": secret})
            (message,) = await hear(sub, 1)
            assert message.body == secret
            for thing in (message, sub, channel, channel.layer):
                assert secret not in repr(thing)

    @law("B9", needs=("lossy",))
    async def test_what_is_for_ack_layers_is_refused(self, harness: Harness) -> None:
        """B9: there is nothing to settle, and nobody can ask for it by mistake."""
        async with harness.channel() as channel:
            options: list[dict[str, Any]] = [{"group": "g"}, {"in_flight": 1}, {"lease": 1.0}]
            for option in options:
                with pytest.raises(CapabilityError):
                    channel.subscribe("t", **option)
        for verb in ("ack", "nack", "reject", "extend"):
            assert not hasattr(Message, verb)
