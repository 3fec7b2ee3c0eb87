"""Laws B12 of what is published with a delay: it is kept, and nobody has it before that ends."""

from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import pytest
from msgspec.structs import replace

from acked import CapabilityError
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.again import equal, originals
from acked.conformance.laws.likeness import made
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed, one_comes_after
from acked.conformance.laws.steps import (
    DAY,
    JSON,
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    opened,
    place,
    receive,
    received_when,
    silent,
    soon,
)
from acked.types import Settlement, Verb

__all__ = ("PublishingLaterLaws",)


class PublishingLaterLaws:
    """A delay begins with the publish, is that of one message, and is no attempt."""

    @law("B12", needs=("publish_delay",))
    async def test_what_is_published_with_a_delay_comes_when_it_is_over(
        self, harness: Harness
    ) -> None:
        """B12: to who waits for it, once, at attempt 1; what is published after it comes before."""
        delay = harness.lease * 1.5
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            began = harness.clock.time()
            await channel.publish(topic, "later", delay=delay)
            await channel.publish(topic, "now")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (first,) = await receive(sub, 1)
                assert first.body == "now"
                await first.ack()
                second, came = await received_when(harness, delay * 1.2, sub)
                assert (second.body, second.attempt) == ("later", 1)
                assert came - began >= delay
                await second.ack()
            await nothing_is_owed(channel, topic, group)

    @law("B12", "B5", needs=("publish_delay", "groups"))
    async def test_a_delay_holds_for_each_group_also_for_one_to_come(
        self, harness: Harness
    ) -> None:
        """B12, B5: nobody has it before; each has it once after, also who came meanwhile."""
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, "later", delay=harness.lease * 3)
            groups = (group, harness.group())
            for name in groups:
                await nothing_is_owed(channel, topic, name)
            await harness.pass_time(harness.lease * 3.3)
            for name in groups:
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, topic, sub)
                assert [(one.body, one.attempt) for one in owed] == [("later", 1)]
                await nothing_is_owed(channel, topic, name)

    @law("B12", needs=("publish_delay",))
    async def test_many_delays_hold_back_nothing_else(self, harness: Harness) -> None:
        """B12: more than a page of them, and what has none behind them comes at once."""
        many = 300
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            async with anyio.create_task_group() as tasks:
                for number in range(many):
                    later = partial(channel.publish, delay=harness.lease * 2)
                    tasks.start_soon(later, topic, number)
            await channel.publish(topic, "now")
            async with channel.subscribe(topic, group=group, in_flight=50, lease=LONG) as sub:
                (first,) = await receive(sub, 1)
                assert first.body == "now"
                await first.ack()
                await harness.pass_time(harness.lease * 2.2)
                got: list[object] = []
                while len(got) < many:
                    some = await receive(sub, 50)
                    got += [one.body for one in some]
                    await ack_all(some)
                assert sorted(map(int, map(str, got))) == list(range(many))
            await nothing_is_owed(channel, topic, group)

    @law("B12", "A8", needs=("publish_delay", "batch_publish"))
    async def test_each_of_a_batch_has_its_own_delay(self, harness: Harness) -> None:
        """B12, A8: of no whole seconds, beside what has none; each comes when its own is over."""
        delays = {"last": 1.75, "first": 0.0, "second": 0.75}
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, topic, group=group)
            records = [
                replace(
                    made(here, harness, body=b'"%b"' % name.encode(), content_type=JSON),
                    delay=delay,
                )
                for name, delay in delays.items()
            ]
            came: dict[object, float] = {}

            async def read() -> None:
                for _ in delays:
                    (delivery,) = await receive(sub, 1)
                    came[delivery.body] = harness.clock.time() - began
                    await delivery.ack()

            async with (
                channel.subscribe(topic, group=group, lease=LONG) as sub,
                anyio.create_task_group() as tasks,
            ):
                began = harness.clock.time()
                await channel.layer.publish(records)
                tasks.start_soon(read)
                with anyio.fail_after(2 * soon()):
                    while len(came) < len(delays):
                        await harness.pass_time(0.25)
            assert list(came) == ["first", "second", "last"]
            assert all(came[name] >= delay for name, delay in delays.items()), came
            await nothing_is_owed(channel, topic, group)

    @law("B12", needs=("publish_delay",))
    async def test_a_publisher_may_say_months(self, harness: Harness) -> None:
        """B12: where time is virtual it comes then; elsewhere it does not come at once."""
        for delay in (1.5 * DAY, 60 * DAY):
            async with place(harness) as here:
                await introduce(here.channel, here.topic, group=here.group)
                await here.channel.publish(here.topic, "later", delay=delay)
                await one_comes_after(harness, here, delay)

    @law("B12", "A4", needs=("publish_delay",))
    async def test_what_was_kept_back_is_whole_and_outlives_the_channel(
        self, harness: Harness
    ) -> None:
        """B12, A4: equal in every field but the delay, which is over."""
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            records = originals(here.topic, harness, here.channel.layer.capabilities)
            await here.channel.layer.publish(
                [replace(one, delay=harness.lease / 2) for one in records]
            )
        async with opened(harness) as channel:
            again = here._replace(channel=channel)
            await harness.pass_time(harness.lease)
            async with silent(again, harness, len(records)) as feed:
                held = await equal(await lease(feed, len(records)), records)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            await nothing_is_owed(*again)

    @law("B12", needs=("publish_delay",))
    async def test_a_moment_that_is_past_is_now(self, harness: Harness) -> None:
        """B12: as a datetime, and as seconds since the epoch."""
        past = datetime.now(UTC) - timedelta(days=1)
        async with place(harness) as (channel, topic, group):
            await introduce(channel, topic, group=group)
            await channel.publish(topic, 1, at=past)
            await channel.publish(topic, 2, at=past.timestamp())
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 2)
                assert bodies(deliveries) == [1, 2]
                await ack_all(deliveries)

    @law("B12", unless=("publish_delay",))
    async def test_a_delay_is_refused_where_nobody_keeps_it(self, harness: Harness) -> None:
        """B12: nothing is published."""
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            with pytest.raises(CapabilityError):
                await here.channel.publish(here.topic, "later", delay=1.0)
            with pytest.raises(CapabilityError):
                await here.channel.publish(here.topic, "later", at=datetime.now(UTC))
            await nothing_is_owed(*here)
