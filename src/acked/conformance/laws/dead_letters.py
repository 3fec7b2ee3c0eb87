"""Laws D: dead letters, and the limit of deliveries. Replaying them (D5) is yet to come."""

import itertools
import time
from typing import Final

import anyio
import pytest

from acked import (
    RAW,
    AckUnconfirmed,
    Backoff,
    CapabilityError,
    Delivery,
    LayerError,
    Redelivery,
    Topic,
)
from acked.conformance.child import child, killed
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    introduce,
    one_good_and_one_bad,
    opened,
    ordered,
    place,
    receive,
    soon,
)

__all__ = ("DeadLetterLaws",)

HEADERS: Final = (
    *("topic", "group", "id", "position", "attempt", "reason", "consumer", "published", "died"),
)
"""What a dead letter says of the original, each behind `acked-`."""

UNDECODABLE: Final = b"\xff{ not JSON"


class DeadLetterLaws:
    """What was given up is kept, whole, where it was told; and nothing else is given up."""

    @law("D1", "C5", needs=("dead_letter", "reject"))
    async def test_a_rejected_message_is_whole_in_the_dead_letters(self, harness: Harness) -> None:
        """D1, C5: once, byte for byte, with where it came from in its headers."""
        dead = harness.topic("dead")
        async with place(harness) as (channel, name, group):
            await introduce(channel, dead, group=group)
            topic, letters = Topic(name, bytes, codec=RAW), Topic(dead, bytes, codec=RAW)
            body = bytes(range(256))
            can = channel.layer.capabilities
            receipt = await channel.publish(
                topic,
                body,
                key="customer-7" if can.keys else None,
                headers={"source": "web"} if can.headers else None,
            )
            policy = Redelivery(dead_letter=dead)
            before = time.time()
            async with channel.subscribe(topic, group=group, redelivery=policy, lease=LONG) as sub:
                (original,) = await receive(sub, 1)  # type: ignore[arg-type]
                await original.reject("no such\ncustomer: 7 ä")
            async with channel.subscribe(letters, group=group, lease=LONG) as sub:
                (letter,) = await receive(sub, 1)  # type: ignore[arg-type]
                await letter.ack()
            assert letter.body == body
            assert (letter.id, letter.key) == (receipt.id, original.key)
            if can.headers:
                story = {name: letter.headers[f"acked-{name}"] for name in HEADERS}
                assert set(letter.headers) == {"source", *(f"acked-{name}" for name in HEADERS)}
                assert (story["topic"], story["group"]) == (name, group)
                assert (story["id"], story["position"]) == (receipt.id, original.position)
                assert (story["attempt"], story["reason"]) == ("1", "no such\ncustomer: 7 ä")
                assert float(story["published"]) == original.timestamp
                assert before <= float(story["died"]) <= time.time()
            await nothing_is_owed(channel, dead, group)
            await nothing_is_owed(channel, name, group)

    @law("C5", needs=("dead_letter", "reject"))
    async def test_without_a_dead_letter_topic_there_is_no_letter(self, harness: Harness) -> None:
        """C5: if and only if configured: another subscription's topic is not used."""
        dead = harness.topic("dead")
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=group)
            await channel.publish_many(topic, range(2))
            policy = Redelivery(dead_letter=dead)
            async with channel.subscribe(topic, group=group, redelivery=policy, lease=LONG) as sub:
                await ack_all(await receive(sub, 1))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await ack_all(await receive(sub, 1))
            await channel.publish(topic, "gone")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await (await receive(sub, 1))[0].reject()
            await nothing_is_owed(channel, dead, group)

    @law("D1", unless=("dead_letter",))
    async def test_dead_letters_that_are_not_offered_are_refused(self, harness: Harness) -> None:
        """D1: refused when subscribing, not when the first message dies."""
        async with opened(harness) as channel:
            policy = Redelivery(dead_letter=harness.topic("dead"))
            with pytest.raises(CapabilityError):
                channel.subscribe(harness.topic(), group=harness.group(), redelivery=policy)

    @law("D2", "D3", needs=("dead_letter", "reject"), hooks=("refuse",))
    async def test_what_the_dead_letters_do_not_take_stays_owed(self, harness: Harness) -> None:
        """D2, D3: first the copy, then the original is given up; so no crash between loses it."""
        assert harness.refuse is not None
        dead = harness.topic("dead")
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            await harness.refuse(dead)
            policy = Redelivery(dead_letter=dead)
            async with channel.subscribe(
                topic, group=group, redelivery=policy, lease=harness.lease
            ) as sub:
                (original,) = await receive(sub, 1)
                # LayerError: the layer knows that the broker said no, and says why.
                with pytest.raises((AckUnconfirmed, LayerError)):
                    await original.reject("no such customer")
                assert sub.statistics().rejected == 0
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (again,) = await receive(sub, 1)
                assert again.body == "body"
                await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("D4", needs=("dead_letter", "attempts", "release"))
    async def test_being_interrupted_is_no_failure(self, harness: Harness) -> None:
        """D4: a handler that is cancelled, again and again, costs no attempt and no message."""
        dead = harness.topic("dead")
        policy = Redelivery(max_deliveries=1, dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=group)
            await channel.publish_many(topic, range(2))
            for _ in range(3):
                with anyio.CancelScope() as scope:
                    async with channel.subscribe(
                        topic, group=group, redelivery=policy, lease=LONG
                    ) as sub:
                        first, _second = await receive(sub, 2)
                        async with first:
                            scope.cancel()
                            await anyio.sleep_forever()
            async with channel.subscribe(topic, group=group, redelivery=policy, lease=LONG) as sub:
                deliveries = await receive(sub, 2)
                assert sorted((d.body, d.attempt) for d in deliveries) == [(0, 1), (1, 1)]
                await ack_all(deliveries)
            await nothing_is_owed(channel, dead, group)

    @law("C17", needs=("dead_letter", "reject", "nack"))
    async def test_past_max_deliveries_it_is_dead_exactly_once(self, harness: Harness) -> None:
        """C17: delivered so often, then once to the dead letters, then never again."""
        dead, reader = harness.topic("dead"), harness.group("reader")
        policy = Redelivery(max_deliveries=2, dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=reader)
            await channel.publish_many(topic, ["poison", "good"])
            seen: list[object] = []
            async with (
                channel.subscribe(topic, group=group, redelivery=policy, lease=LONG) as sub,
                channel.subscribe(dead, group=reader, lease=LONG) as letters,
            ):
                for _ in range(3):
                    (delivery,) = await receive(sub, 1)
                    seen.append(delivery.body)
                    bad = delivery.body == "poison"
                    await (delivery.nack() if bad else delivery.ack())
                (letter,) = await receive(letters, 1)
                assert letter.body == "poison"
                await letter.ack()
            assert ordered(seen) == ["good", "poison", "poison"]
            await nothing_is_owed(channel, topic, group)
            await nothing_is_owed(channel, dead, reader)

    @law(
        "C17",
        needs=("dead_letter", "attempts", "persistent"),
        unless=("last_chance",),
        hooks=("url",),
    )
    async def test_a_poison_that_kills_its_consumer_is_dead_too(self, harness: Harness) -> None:
        """C17: its process was killed while holding it, and had nobody told of it."""
        assert harness.url is not None
        dead, reader = harness.topic("dead"), harness.group("reader")
        policy = Redelivery(max_deliveries=1, dead_letter=dead)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, dead, group=reader)
            await channel.publish(topic, "poison")
            async with child("hold", harness.url, topic, group, 1, lease=harness.lease) as process:
                await killed(process)
            async with (
                channel.subscribe(
                    topic, group=group, redelivery=policy, lease=harness.lease
                ) as sub,
                channel.subscribe(dead, group=reader, lease=LONG) as letters,
            ):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anext, sub)  # nothing is fetched for nobody
                    with anyio.fail_after(harness.recovery + soon()):
                        letter = await anext(letters)
                    assert letter.body == "poison"
                    await letter.ack()
                    with anyio.fail_after(soon()):
                        while sub.statistics().dead_lettered < 1:  # the letter is out first: D2
                            await anyio.sleep(0.01)
                    tasks.cancel_scope.cancel()
                assert (sub.statistics().held, sub.statistics().delivered) == (0, 0)
            await nothing_is_owed(channel, topic, group)

    @law("D6", needs=("dead_letter", "reject"))
    async def test_a_body_that_does_not_decode_goes_to_the_dead_letters(
        self, harness: Harness
    ) -> None:
        """D6: with its raw bytes; what comes behind it is delivered."""
        dead = harness.topic("dead")
        policy = Redelivery(dead_letter=dead)
        async with place(harness) as (channel, name, group):
            await introduce(channel, dead, group=group)
            await channel.publish(Topic(name, bytes, codec=RAW), UNDECODABLE)
            await channel.publish(name, "good")
            letters = Topic(dead, bytes, codec=RAW)
            async with (
                channel.subscribe(name, group=group, redelivery=policy, lease=LONG) as sub,
                channel.subscribe(letters, group=group, lease=LONG) as dead_ones,
                anyio.create_task_group() as tasks,
            ):
                (good,) = await receive(sub, 1)
                assert good.body == "good"
                await good.ack()
                tasks.start_soon(anext, sub)  # where the bad one comes second, it is fetched now
                (letter,) = await receive(dead_ones, 1)  # type: ignore[arg-type]
                assert letter.body == UNDECODABLE
                await letter.ack()
                tasks.cancel_scope.cancel()
            await nothing_is_owed(channel, name, group)

    @law("D6", needs=("reject",))
    async def test_a_body_that_does_not_decode_raises_and_stays_owed(
        self, harness: Harness
    ) -> None:
        """D6: with no dead letters; never skipped, and it can be settled by what was raised."""
        async with place(harness) as (channel, name, group):
            await channel.publish(Topic(name, bytes, codec=RAW), UNDECODABLE)
            await channel.publish(name, "good")
            async with channel.subscribe(name, group=group, lease=LONG) as sub:
                good, error = await one_good_and_one_bad(sub)
                owed = error.delivery
                assert error.raw == UNDECODABLE
                assert owed is not None
                assert sub.statistics().held == 2
                assert good.body == "good"
                await owed.reject()
                await good.ack()
            await nothing_is_owed(channel, name, group)

    @law("D7", needs=("nack_delay",))
    async def test_a_handler_that_fails_is_called_again_by_the_schedule(
        self, harness: Harness
    ) -> None:
        """D7: not before each delay of it, with a factor that is no whole number."""
        initial, factor = harness.lease / 4, 1.5
        schedule = Backoff(initial=initial, factor=factor, maximum=LONG, spread=0.0)
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            moments: list[float] = []
            subscription = channel.subscribe(
                topic, group=group, lease=LONG, redelivery=Redelivery(backoff=schedule)
            )
            async with subscription as sub:

                async def handle(delivery: Delivery[object]) -> None:
                    async with delivery:
                        moments.append(harness.clock.time())
                        if len(moments) < 3:
                            raise RuntimeError("a handler that fails")

                async def work() -> None:
                    while len(moments) < 3:
                        (delivery,) = await receive(sub, 1)
                        try:
                            await handle(delivery)
                        except RuntimeError:
                            assert len(moments) == delivery.attempt

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(work)
                    await harness.pass_time(initial * (1 + factor) * 1.2)
            first, second = (later - one for one, later in itertools.pairwise(moments))
            assert first >= initial
            assert second >= initial * factor
            await nothing_is_owed(channel, topic, group)
