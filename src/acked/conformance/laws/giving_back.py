"""Laws C2: who waits gets what another one gives back, whichever way, and at once."""

import anyio

from acked import Start
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import asleep, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    lease,
    place,
    receive,
)

__all__ = ("GivingBackLaws",)


class GivingBackLaws:
    """What one consumer of a group gives back, another one gets that slept through all before."""

    @law("C2", needs=("competing",))
    async def test_a_waiting_consumer_gets_what_another_one_gave_back(
        self, harness: Harness
    ) -> None:
        """C2: the one that gets it was already waiting when the holder left."""
        holds, leave = anyio.Event(), anyio.Event()
        async with place(harness) as (channel, topic, group), anyio.create_task_group() as tasks:
            await channel.publish_many(topic, range(2))

            async def hold() -> None:
                async with channel.subscribe(topic, group=group, lease=LONG) as leaving:
                    _held = await receive(leaving, 2)
                    holds.set()
                    await leave.wait()

            tasks.start_soon(hold)
            await holds.wait()
            async with channel.subscribe(topic, group=group, lease=LONG) as waiting:
                async with asleep(waiting, 2) as got:
                    leave.set()
                assert bodies(got) == [0, 1]
                await ack_all(got)

    @law("C2", needs=("competing", "release"))
    async def test_a_waiting_consumer_gets_what_another_one_releases(
        self, harness: Harness
    ) -> None:
        """C2: both stay, no lease ends, nothing else happens that could wake it."""
        async with place(harness) as (channel, topic, group):
            await channel.publish(topic, "body")
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
            ) as holding:
                (held,) = await lease(holding, 1)
                async with channel.subscribe(topic, group=group, lease=LONG) as waiting:
                    async with asleep(waiting, 1) as got:
                        await holding.release([held.token])
                    (again,) = got
                    assert (again.body, again.attempt) == ("body", 1)
                    await again.ack()
            await nothing_is_owed(channel, topic, group)

    @law("C2", needs=("competing",))
    async def test_a_waiting_consumer_gets_what_a_feed_left_behind(self, harness: Harness) -> None:
        """C2: the engine gives back before it leaves; if it could not, leaving does."""
        holds, leave = anyio.Event(), anyio.Event()
        async with place(harness) as (channel, topic, group), anyio.create_task_group() as tasks:
            await channel.publish(topic, "body")

            async def hold() -> None:
                async with channel.layer.consume(
                    [topic], group, in_flight=1, lease=LONG, start=Start.EARLIEST
                ) as leaving:
                    await lease(leaving, 1)
                    holds.set()
                    await leave.wait()

            tasks.start_soon(hold)
            await holds.wait()
            async with channel.subscribe(topic, group=group, lease=LONG) as waiting:
                async with asleep(waiting, 1) as got:
                    leave.set()
                (again,) = got
                assert again.body == "body"
                await again.ack()
