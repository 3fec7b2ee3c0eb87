"""Laws B4, B7, C3, C19: who waited for long, or has not begun to read, misses nothing."""

import anyio

from acked import Start
from acked.abc import AckFeed
from acked.conformance.harness import Harness
from acked.conformance.law import law, soon
from acked.conformance.laws.owed import everybody_waits, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    lease,
    opened,
    place,
    receive,
    received_when,
    silent,
)
from acked.types import Leased, Outcome, Settlement, Verb

__all__ = ("PatienceLaws",)

DONE = frozenset({Outcome.CONFIRMED, Outcome.SENT})


class PatienceLaws:
    """Time that passes before a message comes, or before somebody asks for it, costs nothing."""

    @law("B7", "C19", needs=("lease=timer", "competing"))
    async def test_who_waited_for_leases_gets_what_comes_for_a_whole_one(
        self, harness: Harness
    ) -> None:
        """B7, C19: a lease begins when the message comes, and not when it was asked for."""
        async with place(harness) as here:
            channel, topic, group = here
            got: list[Leased] = []

            async def wait(feed: AckFeed) -> None:
                got.extend(await feed.receive(1))

            async with silent(here, harness, 1) as feed, anyio.create_task_group() as tasks:
                tasks.start_soon(wait, feed)
                await harness.pass_time(harness.lease * 4)
                await channel.publish(topic, "body")
                with anyio.fail_after(soon()):
                    while not got:
                        await anyio.sleep(0.001)
                began = harness.clock.time()
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    again, came = await received_when(harness, harness.lease * 1.5, sub)
                    assert came - began >= harness.lease * 0.8
                    await again.ack()
            await nothing_is_owed(channel, topic, group, lease=harness.lease)

    @law("B7", "C3", needs=("lease=timer", "competing", "nack", "nack_delay"))
    async def test_a_wait_ends_with_a_delay_that_is_set_meanwhile(self, harness: Harness) -> None:
        """B7, C3: it began when all that was to come was further away."""
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish_many(topic, range(2))
            unending = harness.lease * 10  # its end is none of the moments that are waited for
            async with channel.layer.consume(
                [topic], group, in_flight=2, lease=unending, start=Start.EARLIEST
            ) as feed:
                late, early = await lease(feed, 2)
                await feed.settle([Settlement(late.token, Verb.NACK, harness.lease * 6)])
                got: list[object] = []

                async def read() -> None:
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        first = await receive(sub, 1)
                        got.extend(bodies(first))
                        await ack_all(first)

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await everybody_waits()
                    await feed.settle([Settlement(early.token, Verb.NACK, harness.lease)])
                    await harness.pass_time(harness.lease * 3)
                    with anyio.fail_after(soon()):
                        while not got:
                            await anyio.sleep(0.001)
                assert got == [int(early.record.body)]

    @law("B7")
    async def test_what_comes_before_the_first_read_is_not_missed(self, harness: Harness) -> None:
        """B7: the group exists, and its consumer has joined."""
        async with place(harness) as here:
            async with silent(here, harness, 3) as feed:
                await here.channel.publish_many(here.topic, range(3))
                held = await lease(feed, 3)
                answers = await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
                assert set(answers) <= DONE
            await nothing_is_owed(*here, lease=harness.lease)

    @law("B4", "B7", needs=("replay",))
    async def test_a_group_that_settled_nothing_keeps_its_place(self, harness: Harness) -> None:
        """B4, B7: where to start is for a group that is new, and this one is known."""
        topic, group = harness.topic(), harness.group()
        async with opened(harness) as channel:
            for _ in range(2):
                async with channel.subscribe(topic, group=group, start=Start.LATEST):
                    pass
                await channel.publish(topic, "body")
            async with channel.subscribe(topic, group=group, start=Start.LATEST, lease=LONG) as sub:
                got = await receive(sub, 2)
                assert bodies(got) == ["body", "body"]
                await ack_all(got)
            await nothing_is_owed(channel, topic, group)

    @law("C2", needs=("lease=timer", "competing"))
    async def test_who_only_passes_by_takes_nothing_of_the_dead_along(
        self, harness: Harness
    ) -> None:
        """C2: a consumer comes and goes, unread, when the lease of another one has ended."""
        async with place(harness) as here:
            await here.channel.publish(here.topic, "body")
            async with silent(here, harness, 1) as feed:
                await lease(feed, 1)
                await harness.pass_time(harness.lease * 1.5)
                async with silent(here, harness, 1):
                    pass
                async with here.channel.subscribe(here.topic, group=here.group, lease=LONG) as sub:
                    await ack_all(await receive(sub, 1))
            await nothing_is_owed(*here, lease=harness.lease)
