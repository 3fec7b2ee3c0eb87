"""Laws for fire-and-forget layers: opening, cancelling, closing, and what a fault is told as."""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from acked import AckedError, ChannelClosed, FireAndForgetSubscription, GapCause, Message
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.fire_and_forget_steps import bodies_of, hear, hear_all
from acked.conformance.laws.lifecycle import alive, nothing_is_left
from acked.conformance.laws.steps import soon

__all__ = ("FireAndForgetFaultLaws", "FireAndForgetLifeLaws")


class FireAndForgetLifeLaws:
    """What opening, cancelling and closing leave behind."""

    @law("A6", "G1", needs=("lossy",))
    async def test_a_closed_channel_publishes_nothing_and_says_so(self, harness: Harness) -> None:
        """A6, G1: raises, never hangs; closing again, or twice at once, is a no-op."""
        channel = harness.channel()
        topic = harness.topic()
        with pytest.raises(ChannelClosed):
            await channel.publish(topic, 1)
        async with channel:
            await channel.publish(topic, 1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(channel.aclose)
                tasks.start_soon(channel.aclose)
        await channel.aclose()
        with pytest.raises(ChannelClosed):
            await channel.publish(topic, 1)
        async with channel, channel.subscribe(topic) as sub:  # opened again, it works again
            await channel.publish(topic, 2)
            assert bodies_of(await hear(sub, 1)) == [2]

    @law("G4", needs=("lossy",))
    async def test_a_closed_channel_leaves_no_task_socket_or_thread(self, harness: Harness) -> None:
        """G4: after reading, after a break, after a cancellation."""
        before = alive()
        for way in ("read", "break", "cancel"):
            topic = harness.topic()
            with anyio.CancelScope() as scope:
                async with harness.channel() as channel, channel.subscribe(topic) as sub:
                    await channel.publish_many(topic, range(5))
                    await hear(sub, 5 if way == "read" else 2)
                    if way == "cancel":
                        scope.cancel()
                        await anyio.sleep_forever()
        await nothing_is_left(before, soon())

    @law("G5", needs=("lossy",))
    async def test_cancelling_a_waiting_read_misses_nothing(self, harness: Harness) -> None:
        """G5: reads cancelled at moments of all kinds while messages arrive."""
        topic, moments = harness.topic(), random.Random(5)  # noqa: S311 - no secret
        heard: list[Message[Any]] = []
        async with harness.channel() as channel, channel.subscribe(topic) as sub:

            async def read() -> None:
                while True:
                    heard.append(await anext(sub))

            for number in range(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                    await channel.publish(topic, number)
                    await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                    tasks.cancel_scope.cancel()
            heard += await hear(sub, 30 - len(heard))
            assert bodies_of(heard) == list(range(30))

    @law("G6", needs=("lossy",))
    async def test_closing_the_channel_wakes_its_readers(self, harness: Harness) -> None:
        """G6: `ChannelClosed` in the iterator, never a hang, never a clean end."""
        channel, topic, reads = harness.channel(), harness.topic(), anyio.Event()

        async def read() -> None:
            async with channel.subscribe(topic) as sub:
                reads.set()
                with pytest.raises(ChannelClosed):
                    await anext(sub)

        with anyio.fail_after(soon()):
            async with channel, anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await reads.wait()
                await checkpoint()
                await channel.aclose()

    @law("G8", "G9", needs=("lossy",))
    async def test_coming_and_going_makes_nobody_deaf(self, harness: Harness) -> None:
        """G8, G9: many enter, leave and are cancelled on one topic; who stays hears everything."""
        topic, moments = harness.topic(), random.Random(9)  # noqa: S311 - no secret
        heard: list[Any] = []
        async with harness.channel() as channel:
            async with channel.subscribe(topic) as stays, anyio.create_task_group() as tasks:

                async def come_and_go() -> None:
                    for _ in range(5):
                        with anyio.move_on_after(moments.choice([0.0, 0.002, 1.0])):
                            async with channel.subscribe(topic) as sub:
                                await channel.publish(topic, "mine")
                                await hear(sub, 1)

                for _ in range(10):
                    tasks.start_soon(come_and_go)
                for number in range(20):
                    await channel.publish(topic, number)
                    await checkpoint()
                await channel.publish(topic, "last")
                heard = bodies_of(await hear_all(stays, "last"))
            assert [body for body in heard if isinstance(body, int)] == list(range(20))
            async with channel.subscribe(topic) as afterwards:  # the topic is not left behind deaf
                await channel.publish(topic, "new")
                assert bodies_of(await hear(afterwards, 1)) == ["new"]


class FireAndForgetFaultLaws:
    """A layer may miss messages when the connection or the broker fails; it may not hide it."""

    @law("B9", "H2", "H8", needs=("lossy",), hooks=("cut",))
    async def test_no_message_is_missed_without_a_gap_when_connections_are_cut(
        self, harness: Harness
    ) -> None:
        """B9, H2, H8: cut again and again in the middle of a stream of numbers."""
        assert harness.cut is not None
        await self._told_of_every_miss(harness, harness.cut, times=4)

    @law("H1", "H8", needs=("lossy",), hooks=("restart_broker",))
    async def test_a_restarted_broker_is_heard_again_with_a_gap(self, harness: Harness) -> None:
        """H1, H8: by itself, in the same subscription."""
        assert harness.restart_broker is not None
        await self._told_of_every_miss(harness, harness.restart_broker, times=1)

    @law("H1", "H8", needs=("lossy",), hooks=("kill_broker",))
    async def test_a_killed_broker_is_heard_again_with_a_gap(self, harness: Harness) -> None:
        """H1, H8: SIGKILL, and started again."""
        assert harness.kill_broker is not None
        await self._told_of_every_miss(harness, harness.kill_broker, times=1)

    @law("H2", "H8", "B8", needs=("lossy",), hooks=("cut",))
    async def test_every_subscription_is_told_of_a_cut_and_hears_again(
        self, harness: Harness
    ) -> None:
        """H2, H8, B8: two of one topic, one of two others, one of a pattern; each for itself."""
        assert harness.cut is not None
        one, two, three = (harness.topic() for _ in range(3))
        async with harness.channel() as channel, AsyncExitStack() as stack:
            subscriptions = [channel.subscribe(one), channel.subscribe(one)]
            subscriptions.append(channel.subscribe(two, three))
            homes = [[one], [one], [two, three]]
            if channel.layer.capabilities.patterns:
                subscriptions.append(channel.subscribe(f"{three[:-1]}*", patterns=True))
                homes.append([three])
            heard: list[list[Message[Any]]] = [[] for _ in homes]
            for sub in subscriptions:
                await stack.enter_async_context(sub)
            for topic in (one, two, three):
                await channel.publish(topic, "before")
            for sub, topics, messages in zip(subscriptions, homes, heard, strict=True):
                messages.extend(await hear(sub, len(topics)))
            await harness.cut()
            for sub, topics, messages in zip(subscriptions, homes, heard, strict=True):
                for topic in topics:
                    messages.extend(await heard_after(channel, topic, sub))
                gaps = [message.gap for message in messages if message.gap is not None]
                assert gaps, "it was not told of the connection that was lost"

    async def _told_of_every_miss(self, harness: Harness, fault: Any, *, times: int) -> None:
        topic = harness.topic()
        accepted: list[int] = []
        heard: list[Message[Any]] = []
        async with harness.channel() as channel, channel.subscribe(topic) as sub:
            for turn in range(times):
                first = turn * SEVERAL
                await publish(channel, topic, first, accepted)  # the connection is whole yet
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fault)
                    for number in range(first + 1, first + SEVERAL):
                        await publish(channel, topic, number, accepted)
                heard += await heard_after(channel, topic, sub)
        assert len(accepted) >= times, "a whole connection accepted nothing"
        assert_every_miss_is_told(heard, accepted)
        gaps = [message.gap for message in heard if message.gap is not None]
        assert gaps, "a lost connection was not told"
        assert all(GapCause.RECONNECT in gap.causes for gap in gaps)


SEVERAL: Final = 20
SENTINEL: Final = "sentinel"


def assert_every_miss_is_told(heard: Sequence[Message[Any]], accepted: Sequence[int]) -> None:
    """B9: between two messages without a gap nothing accepted is missing; nothing comes twice."""
    before, gap = -1, False
    for message in heard:
        gap = gap or message.gap is not None
        if message.body == SENTINEL:
            continue
        assert message.body > before, "twice, or out of order"
        missed = [number for number in accepted if before < number < message.body]
        assert gap or not missed, f"missed without a gap: {missed}"
        before, gap = message.body, False


async def publish(channel: Any, topic: str, number: int, accepted: list[int]) -> None:
    """Publish `number` once, and note whether it was accepted."""
    try:
        with anyio.fail_after(6 * soon()):
            await channel.publish(topic, number)
    except AckedError:
        await anyio.sleep(0.01)
    else:
        accepted.append(number)


async def heard_after(
    channel: Any, topic: str, sub: FireAndForgetSubscription[Any]
) -> list[Message[Any]]:
    """Return what is heard until the subscription hears again: sentinels, until one arrives."""
    heard: list[Message[Any]] = []
    with anyio.fail_after(6 * soon()):
        while True:
            try:
                await channel.publish(topic, SENTINEL)
            except AckedError:
                await anyio.sleep(0.05)
                continue
            with anyio.move_on_after(0.3):
                while True:
                    heard.append(await anext(sub))
                    if heard[-1].body == SENTINEL:
                        return heard
