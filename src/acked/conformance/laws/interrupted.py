"""Laws C10, G11 of what is interrupted: at each step of it a message is settled or it is owed."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from acked import AckedError, ChannelClosed, Delivery, Record
from acked.abc import AckFeed
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    Place,
    bodies,
    introduce,
    lease,
    opened,
    place,
    receive,
    silent,
    soon,
)
from acked.types import Leased, Settlement, Verb

__all__ = ("InterruptedLaws",)

STEPS: Final = 8
"""How far an operation gets before it is interrupted: in turns of the loop."""

Act = Callable[[AckFeed, Leased], Coroutine[Any, Any, object]]


class InterruptedLaws:
    """Whoever is interrupted in the midst of something loses no message by it."""

    @law("C10", "C3", needs=("nack",))
    async def test_cancelling_a_nack_loses_nothing(self, harness: Harness) -> None:
        """C10, C3: cancelled at each step of it by whoever asked the layer for it."""
        async with place(harness) as here:
            await interrupted(here, harness, partial(settle, Verb.NACK))

    @law("C10", "C2", needs=("release",))
    async def test_cancelling_a_release_loses_nothing(self, harness: Harness) -> None:
        """C10, C2: what was to be given back is free, or was kept until its holder left."""
        async with place(harness) as here:
            await interrupted(here, harness, lambda feed, one: feed.release([one.token]))

    @law("C10", "C11", needs=("extend",))
    async def test_cancelling_an_extension_loses_nothing(self, harness: Harness) -> None:
        """C10, C11: it is held as before, or for longer; when its holder left it is free."""
        async with place(harness) as here:
            await interrupted(here, harness, lambda feed, one: feed.extend([one.token], 1.0))

    @law("C10", "D2", needs=("reject", "dead_letter"))
    async def test_cancelling_a_rejection_leaves_a_letter_or_the_original(
        self, harness: Harness
    ) -> None:
        """C10, D2: both perhaps, for the copy is made first; never neither."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            await introduce(here.channel, dead, group=here.group)

            async def reject(feed: AckFeed, one: Leased) -> None:
                letter = Record(dead, one.record.body, one.record.id)
                await feed.settle([Settlement(one.token, Verb.REJECT, dead_letter=letter)])

            await here.channel.publish_many(here.topic, range(STEPS))
            for step in range(STEPS):
                await one_interrupted(here, harness, reject, step)
            found = set[object]()
            for topic in (here.topic, dead):
                async with here.channel.subscribe(topic, group=here.group, lease=LONG) as sub:
                    found |= {d.body for d in await all_that_is_owed(here.channel, topic, sub)}
            assert found == set(range(STEPS))

    @law("G11", "C9", "C1")
    async def test_an_ack_while_the_channel_closes_is_done_or_raises(
        self, harness: Harness
    ) -> None:
        """G11, C9, C1: at each step of the closing; what returned does not come again."""
        topic, group = harness.topic(), harness.group()
        acked, failed = set[object](), set[object]()
        async with opened(harness) as channel:
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(STEPS))

        async def ack(delivery: Delivery[object]) -> None:
            try:
                await delivery.ack()
            except AckedError:
                failed.add(delivery.body)
            else:
                acked.add(delivery.body)

        for step in range(STEPS):
            channel = opened(harness)
            with anyio.fail_after(3 * soon()):
                async with channel, anyio.create_task_group() as tasks:
                    with suppress(ChannelClosed):
                        async with channel.subscribe(
                            topic, group=group, in_flight=1, lease=LONG
                        ) as sub:
                            (delivery,) = await receive(sub, 1)
                            tasks.start_soon(channel.aclose)
                            for _ in range(step):
                                await checkpoint()
                            await ack(delivery)
        async with opened(harness) as channel:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                owed = bodies(await all_that_is_owed(channel, topic, sub))
            assert set(range(STEPS)) - acked - failed <= set(owed)
            if channel.layer.capabilities.confirmed_ack:
                assert not acked & set(owed), "acked while it closed, and it came again"
            assert acked | failed | set(owed) == set(range(STEPS))

    @law("G11", "G5", "C2")
    async def test_what_waited_when_it_was_left_takes_nothing(self, harness: Harness) -> None:
        """G11, G5, C2: a receive that is cancelled, or left behind, is no consumer any more."""
        async with place(harness) as (channel, topic, group):
            for step in range(STEPS):
                here = Place(channel, topic, group)
                async with silent(here, harness, 1) as feed, anyio.create_task_group() as tasks:
                    tasks.start_soon(feed.receive, 1)
                    for _ in range(step):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
                await channel.publish(topic, step)
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    (delivery,) = await receive(sub, 1)
                    assert (delivery.body, delivery.attempt) == (step, 1)
                    await delivery.ack()
            await nothing_is_owed(channel, topic, group)


async def settle(verb: Verb, feed: AckFeed, one: Leased) -> None:
    """Settle `one` with `verb`."""
    await feed.settle([Settlement(one.token, verb)])


async def interrupted(here: Place, harness: Harness, act: Act) -> None:
    """Interrupt `act` at each step, each on a message of its own; then all are owed."""
    await here.channel.publish_many(here.topic, range(STEPS))
    for step in range(STEPS):
        await one_interrupted(here, harness, act, step)
    async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
        owed = await all_that_is_owed(here.channel, here.topic, sub)
    assert bodies(owed) == list(range(STEPS))


async def one_interrupted(here: Place, harness: Harness, act: Act, step: int) -> None:
    """Lease one message, begin `act` with it, and cancel that after so many turns."""
    async with silent(here, harness, 1) as feed:
        (one,) = await lease(feed, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(act, feed, one)
            for _ in range(step):
                await checkpoint()
            tasks.cancel_scope.cancel()
