"""Broken copies: a schedule publishes more than once, or nothing, or what it never missed."""

# pyright: reportPrivateUsage=false

import anyio.lowlevel

from acked.types import Record
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Queue

__all__ = ()


@broken("test_what_many_want_published_is_published_once")
class LooksAndThenPublishes(Queue):
    """Between the look and the note somebody else looks: `GET`, `XADD`, `SET`."""

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        before = self._broker.noted.get(schedule)
        await anyio.lowlevel.checkpoint()
        if before is None or before < moment:
            if before is not None or not begins:
                await self.publish([record])
            self._broker.noted[schedule] = moment
        return before


@broken("test_what_many_want_published_is_published_once")
class KnowsOneSchedule(Queue):
    """One note for all: the second schedule finds that of the first."""

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        return await super().publish_once(record, "", moment, begins=begins)


@broken("test_a_schedule_that_is_new_has_missed_nothing")
class PublishesWhatItNeverMissed(Queue):
    """The first process of a new schedule publishes what was due before there was one."""

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        return await super().publish_once(record, schedule, moment, begins=False)


@broken("test_what_was_published_for_outlives_the_channel")
class ForgetsWhatWasPublishedFor(Queue):
    """The note is the process's: who comes later publishes it again."""

    async def __aexit__(self, *args: object) -> None:
        self._broker.noted.clear()
        await super().__aexit__(*args)  # type: ignore[arg-type]
