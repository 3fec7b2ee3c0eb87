"""Publishes what is due, once for all processes that run the same app.

Each process calls the function and asks the layer to publish what it returned; the layer does so
for the first of them, in one step with the note that it did. So nothing is lost by a process that
dies between the two, nobody is the one that the others depend on, and clocks need not agree.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, cast

import anyio
import msgspec

from acked._app.schedules import Schedule
from acked._core.publishing import Encoders
from acked._core.worker.answers import Publish, options_of
from acked._core.worker.calling import Handler
from acked._machines.backoff import Backoff
from acked.abc import AckLayer, PublishesOnce
from acked.errors import AckedError, CapabilityError, ConfigurationError
from acked.types import Codec, Record

__all__ = ("Scheduled", "Scheduler", "schedulers")

logger = logging.getLogger("acked.schedule")

LATE: Final = 10.0
"""Seconds after which what is published is told to be late."""
LONGEST_NAP: Final = 30.0
"""Seconds between two looks at the clock, which somebody may set."""
BACKOFF: Final = Backoff(initial=0.2, maximum=30.0)


class Scheduled(msgspec.Struct, frozen=True):
    """A function of the user's, and when what it returns is published."""

    name: str
    schedule: Schedule
    function: Callable[[datetime], object]


def schedulers(
    scheduled: Sequence[Scheduled], layer: AckLayer, codec: Codec
) -> Sequence["Scheduler"]:
    """Return one for each. Raises `ConfigurationError` where two have one name."""
    names = [one.name for one in scheduled]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"two schedules are called {twice!r}: give one a name=")
    encoders = Encoders(codec, layer.capabilities, verify=True)
    return [Scheduler(one, layer, encoders) for one in scheduled]


class Scheduler:
    """Publishes what one function returns, whenever it is due, from `run` on."""

    def __init__(self, scheduled: Scheduled, layer: AckLayer, encoders: Encoders) -> None:
        """Make it. Raises `CapabilityError` where the layer cannot publish for a fleet once."""
        if not layer.capabilities.publish_once:
            raise CapabilityError(
                f"every() publishes once for all processes, and {layer!r} cannot: use a layer with "
                "the capability publish_once; the how-to on running workers names them"
            )
        self._layer = cast("PublishesOnce", layer)
        self._encoders = encoders
        self._name = scheduled.name
        self._schedule = scheduled.schedule
        self._handler = Handler(scheduled.function, 1)
        self._scope = anyio.CancelScope()
        self._is_answered = True

    async def run(self) -> None:
        """Publish until `stop`; first of all what was missed while no process ran, once."""
        with self._scope:
            await self._run()

    def stop(self) -> None:
        """Publish nothing more: whatever is due now, another process does."""
        self._scope.cancel()

    @property
    def is_receiving(self) -> bool:
        """Whether the broker answered when something was due last."""
        return self._is_answered

    async def _run(self) -> None:
        moment = self._schedule.last(time.time())
        await self._publish(moment, begins=True)
        while True:
            upcoming = self._schedule.next(max(moment, time.time()))
            while (left := upcoming - time.time()) > 0:  # noqa: ASYNC110 - only time can tell
                await anyio.sleep(min(left, LONGEST_NAP))
            moment = self._schedule.last(max(upcoming, time.time()))
            await self._publish(moment)

    async def _publish(self, moment: float, *, begins: bool = False) -> None:
        until = self._schedule.next(moment)
        record = await self._record(moment)
        tries = 0
        while record is not None:
            try:
                before = await self._layer.publish_once(record, self._name, moment, begins=begins)
            except AckedError as error:
                tries += 1
                if self._is_answered:
                    logger.warning("%s is due and not published yet: %s", self._name, error)
                self._is_answered = False
                await anyio.sleep(BACKOFF.delay(tries, random.random()))  # noqa: S311 - no secret
                if time.time() >= until:  # then that is due
                    return
            else:
                self._is_answered = True
                self._tell(moment, before, begins=begins)
                return

    async def _record(self, moment: float) -> Record | None:
        """Return what the function wants published, if anything; what it raises is logged."""
        at = datetime.fromtimestamp(moment, self._schedule.zone)
        try:
            answer = await self._handler.call(at)
            return None if answer is None else self._encoded(answer, at)
        except Exception:
            logger.exception("%s has nothing to publish for %s, since it failed", self._name, at)
            return None

    def _encoded(self, answer: object, at: datetime) -> Record:
        if not isinstance(answer, Publish):
            kind = type(answer).__name__
            raise ConfigurationError(f"a schedule's function returns Publish(...), not {kind}")
        message = cast("Publish[Any]", answer)  # type: ignore[redundant-cast]  # for pyright
        options = options_of(message, else_id=f"{self._name}@{at.isoformat()}")
        return self._encoders.record(self._encoders.checked(message.topic), message.body, options)

    def _tell(self, moment: float, before: float | None, *, begins: bool) -> None:
        is_ours = not begins if before is None else before < moment
        late = time.time() - moment
        if is_ours and late > LATE:
            at = datetime.fromtimestamp(moment, self._schedule.zone)
            logger.warning(
                "%s was due at %s, and is published %.0f s late, once for all that was missed",
                self._name,
                at,
                late,
            )
