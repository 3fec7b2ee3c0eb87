"""Law B15: what a schedule wants published when it is due is published once, whoever asks."""

from functools import partial
from typing import Final, cast

import anyio

from acked import Channel
from acked.abc import AckLayer, PublishesOnce
from acked.conformance.harness import Harness, fresh
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed
from acked.conformance.laws.steps import LONG, Place, introduce, opened, place
from acked.types import Record

__all__ = ("ScheduledLaws",)

ASKERS: Final = 4


class ScheduledLaws:
    """Who asks first publishes, and notes for when; who asks for that, or earlier, does not."""

    @law("B15", needs=("publish_once",))
    async def test_what_many_want_published_is_published_once(self, harness: Harness) -> None:
        """B15: by several at once and again later, each schedule by itself."""
        schedules = [fresh("schedule"), fresh("schedule")]
        async with place(harness) as here, opened(harness) as other:
            await introduce(here.channel, here.topic, group=here.group)
            for schedule in schedules:
                told: list[float | None] = []
                ask = partial(note, told, here, schedule)
                for moment in (1000.25, 2000.0):
                    async with anyio.create_task_group() as tasks:
                        for channel in (here.channel, other) * ASKERS:
                            tasks.start_soon(ask, channel, moment)
                await ask(other, 1500.0)
                first, second = told[: 2 * ASKERS], told[2 * ASKERS :]
                assert sorted(map(str, first)) == ["1000.25"] * (2 * ASKERS - 1) + ["None"]
                assert sorted(map(str, second)) == ["1000.25"] + ["2000.0"] * (2 * ASKERS)
            both = [
                f"{schedule} {moment}" for schedule in schedules for moment in (1000.25, 2000.0)
            ]
            assert await owed(here) == sorted(both)

    @law("B15", needs=("publish_once",))
    async def test_a_schedule_that_is_new_has_missed_nothing(self, harness: Harness) -> None:
        """B15: who begins with it publishes what is due only where an earlier one was noted."""
        schedule = fresh("schedule")
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            assert await asked(here.channel, here, schedule, 10.0, begins=True) is None
            assert await asked(here.channel, here, schedule, 10.0, begins=True) == 10.0
            assert await asked(here.channel, here, schedule, 10.0) == 10.0
            assert await asked(here.channel, here, schedule, 30.0, begins=True) == 10.0
            assert await asked(here.channel, here, schedule, 20.0) == 30.0
            assert await owed(here) == [f"{schedule} 30.0"]

    @law("B15", needs=("publish_once",))
    async def test_what_was_published_for_outlives_the_channel(self, harness: Harness) -> None:
        """B15: so that who comes later knows what nobody was there for."""
        schedule = fresh("schedule")
        async with place(harness) as here:
            await introduce(here.channel, here.topic, group=here.group)
            assert await asked(here.channel, here, schedule, 10.0) is None
        async with opened(harness) as channel:
            later = Place(channel, here.topic, here.group)
            assert await asked(channel, later, schedule, 10.0) == 10.0
            assert await owed(later) == [f"{schedule} 10.0"]


async def note(
    told: list[float | None],
    here: Place,
    schedule: str,
    channel: Channel[AckLayer],
    moment: float,
) -> None:
    """Note what `asked` returns."""
    told.append(await asked(channel, here, schedule, moment))


async def asked(
    channel: Channel[AckLayer], here: Place, schedule: str, moment: float, *, begins: bool = False
) -> float | None:
    """Ask for a message of `schedule` that is due at `moment`."""
    body = f'"{schedule} {moment}"'.encode()
    record = Record(here.topic, body, fresh("id"), content_type="application/json")
    layer = cast("PublishesOnce", channel.layer)
    return await layer.publish_once(record, schedule, moment, begins=begins)


async def owed(here: Place) -> list[str]:
    """Return the bodies of all that is owed, sorted, and settle them."""
    channel, topic, group = here
    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
        return sorted(str(one.body) for one in await all_that_is_owed(channel, topic, sub))
