"""Laws H: faults. What restarts, cuts, silence and loss on the server do, by the hooks."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import anyio
import pytest

from acked import ConnectionLost, LayerError
from acked.conformance.harness import Direction, Harness
from acked.conformance.law import law
from acked.conformance.laws.fault_steps import Account, accepted_of, goes_on_after, published
from acked.conformance.laws.owed import SENTINEL, all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    introduce,
    joined,
    opened,
    place,
    receive,
    soon,
)

__all__ = ("FaultLaws",)

STEPS: Final[Sequence[tuple[int, Direction]]] = (
    *((count, "to_server") for count in (1, 15, 60, 150, 400)),
    *((count, "to_client") for count in (1, 6, 30, 120)),
)
"""After how many bytes, and in which direction, a connection is cut: before a request has left,
in the midst of it, when it has arrived and nobody answered, in the midst of the answer."""

SILENCE: Final = 4.0
"""Seconds without a byte, longer than many a client's timeout."""
NEVER: Final = 1 << 40
"""Bytes: a cut after so many does not come, and takes the place of one that did not come yet."""


class FaultLaws:
    """After whatever fault: nothing accepted is lost, nothing confirmed comes again."""

    @law("H1", "C1", "A11", needs=("persistent",), hooks=("restart_broker",))
    async def test_consuming_goes_on_after_the_broker_restarted(self, harness: Harness) -> None:
        """H1, C1, A11: by itself; what was accepted is there, what was acked is not."""
        assert harness.restart_broker is not None
        await goes_on_after(harness, harness.restart_broker)

    @law("H1", "C1", "A11", needs=("persistent",), hooks=("kill_broker",))
    async def test_consuming_goes_on_after_the_broker_was_killed(self, harness: Harness) -> None:
        """H1, C1, A11: SIGKILL, right after it confirmed."""
        assert harness.kill_broker is not None
        await goes_on_after(harness, harness.kill_broker)

    @law("H2", hooks=("cut",))
    async def test_a_waiting_consumer_goes_on_after_a_cut(self, harness: Harness) -> None:
        """H2: it connects again by itself, and gets what is published then."""
        assert harness.cut is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                for number in range(3):
                    await harness.cut()
                    await published(channel, topic, number)
                    await account.settle_until(sub, {number})

    @law("H2", "A8", "A9", needs=("publish_confirm",), hooks=("cut_after",))
    async def test_a_publish_that_was_cut_at_any_step_is_whole_or_absent(
        self, harness: Harness
    ) -> None:
        """H2, A8, A9: once each; accepted members arrive, of the others we are told."""
        assert harness.cut_after is not None
        accepted: set[object] = set()
        tried: set[object] = set()
        async with place(harness) as (channel, topic, group):
            for step, (count, direction) in enumerate(STEPS):
                members = [f"{step}-{n}-{'x' * 50}" for n in range(3)]
                tried |= set(members)
                await harness.cut_after(count, direction)
                accepted |= await accepted_of(channel, topic, members)
                await harness.cut_after(NEVER, direction)
            async with joined(channel, topic, group) as sub:
                owed = await all_that_is_owed(channel, topic, sub, publish=published)
            arrived = Counter(d.body for d in owed if SENTINEL not in str(d.body))
            assert accepted <= set(arrived) <= tried
            assert max(arrived[body] for body in tried) <= 1, "published twice by a hidden retry"

    @law("H2", "C1", "C9", hooks=("cut_after",))
    async def test_a_settlement_that_was_cut_at_any_step_holds_or_comes_again(
        self, harness: Harness
    ) -> None:
        """H2, C1, C9: an ack that returned holds; what was not acked comes again."""
        assert harness.cut_after is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            for step, (count, direction) in enumerate(STEPS):
                await published(channel, topic, f"{step}-acked")
                await published(channel, topic, f"{step}-held")
                async with joined(channel, topic, group, lease=harness.lease) as sub:
                    first, held = await receive(sub, 2)
                    await harness.cut_after(count, direction)
                    await account.settle(first)
                await harness.cut_after(NEVER, direction)
                async with joined(channel, topic, group, lease=harness.lease) as sub:
                    await account.settle_until(sub, {held.body})
            async with joined(channel, topic, group, lease=harness.lease) as sub:
                await account.settle_all(channel, topic, sub)

    @law("H2", "G5", hooks=("cut_after",))
    async def test_a_read_that_was_cut_at_any_step_loses_nothing(self, harness: Harness) -> None:
        """H2, G5: what was on its way to us comes again; what was acked does not."""
        assert harness.cut_after is not None
        async with place(harness) as (channel, topic, group), opened(harness) as publisher:
            account = Account(channel)
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                for step, (count, direction) in enumerate(STEPS):
                    await harness.cut_after(count, direction)
                    wanted: set[object] = {f"{step}-{n}" for n in range(3)}
                    for body in sorted(wanted, key=str):
                        await published(publisher, topic, body)
                    await account.settle_until(sub, wanted)
                    await harness.cut_after(NEVER, direction)

    @law("H3", "G6", hooks=("black_hole", "notice"))
    async def test_a_network_that_lost_its_way_is_noticed(self, harness: Harness) -> None:
        """H3, G6: a reader that does not want to wait for a better one is told within a bound."""
        assert harness.black_hole is not None
        assert harness.notice is not None
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.subscribe(
                topic, group=group, lease=LONG, reconnect_timeout=0.0, close_timeout=1.0
            ) as sub:
                await ack_all(await receive(sub, 1))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(harness.black_hole, 2 * harness.notice)
                    with anyio.fail_after(harness.notice), pytest.raises(ConnectionLost):
                        await anext(sub)
                    tasks.cancel_scope.cancel()

    @law("H3", "C9", hooks=("black_hole",))
    async def test_a_consumer_goes_on_when_the_network_found_its_way(
        self, harness: Harness
    ) -> None:
        """H3, C9: an ack in the silence ends; later it holds, or the message comes again."""
        assert harness.black_hole is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                first, *_held = await receive(sub, 2)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(harness.black_hole, SILENCE)
                    await account.settle(first)
                for delivery in _held:
                    await account.settle(delivery)
                await account.settle_until(sub, {0, 1, 2})

    @law("G3", hooks=("black_hole",))
    async def test_leaving_ends_by_its_deadline_although_the_broker_is_silent(
        self, harness: Harness
    ) -> None:
        """G3: with something held."""
        assert harness.black_hole is not None
        topic, group = harness.topic(), harness.group()
        began = left = closed = 0.0
        async with anyio.create_task_group() as tasks:
            async with opened(harness) as channel:
                await introduce(channel, topic, group=group)
                await channel.publish_many(topic, range(4))
                async with channel.subscribe(
                    topic, group=group, lease=LONG, close_timeout=1.0
                ) as sub:
                    _held = await receive(sub, 2)
                    tasks.start_soon(harness.black_hole, LONG)
                    await anyio.sleep(0.1)
                    began = anyio.current_time()
                left = anyio.current_time()
            closed = anyio.current_time()
            tasks.cancel_scope.cancel()
        assert left - began < 5.0  # the subscription's second, two of the feed's
        assert closed - left < soon()

    @law("H5", hooks=("wipe",))
    async def test_a_consumer_whose_state_was_wiped_is_not_silently_deaf(
        self, harness: Harness
    ) -> None:
        """H5: it heals, and gets what is published afterwards, or it raises."""
        assert harness.wipe is not None
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            await channel.publish(topic, "before")
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                await ack_all(await receive(sub, 1))
                await harness.wipe(topic)
                async with anyio.create_task_group() as tasks:

                    async def publish() -> None:
                        while True:
                            await published(channel, topic, "after")
                            await anyio.sleep(0.2)

                    tasks.start_soon(publish)
                    with suppress(LayerError):  # loud
                        await account.settle_until(sub, {"after"})
                    tasks.cancel_scope.cancel()

    @law("H6", "C1", needs=("order=partition", "confirmed_ack"))
    async def test_a_rebalance_loses_nothing_and_repeats_only_the_unsettled(
        self, harness: Harness
    ) -> None:
        """H6, C1: a member joins while another one holds: what was acked stays acked.

        What is in hand may stay in hand, or be lost to this one and come again.
        """
        async with place(harness) as (channel, topic, group):
            account = Account(channel)
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, lease=LONG) as old:
                held = await receive(old, 10)
                for delivery in held[:4]:
                    await account.settle(delivery)
                async with channel.subscribe(topic, group=group, lease=LONG):
                    for delivery in held[4:7]:
                        await account.settle(delivery)
                for delivery in held[7:]:
                    await account.settle(delivery)
                await account.settle_until(old, set(range(10)))
            await nothing_is_owed(channel, topic, group)
