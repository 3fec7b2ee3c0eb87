"""Broken moments: what ends by the time of day begins to end when somebody sets the clock."""

import time
from collections.abc import Sequence

import msgspec

from acked.abc import Clock
from acked.clocks import SystemClock
from acked.types import Outcome, Settlement, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()


def since_noon() -> float:
    """Return the time of day, as far as it is not the one that passes."""
    return time.time() - time.monotonic()


class TimeOfDay:
    """A clock that is set when the wall clock is."""

    def __init__(self, right: Clock) -> None:
        self._right = right
        self._noon = since_noon()

    def error(self) -> float:
        """Return by how much it was set."""
        return since_noon() - self._noon

    def time(self) -> float:
        """Return the right moment, and what it was set by."""
        return self._right.time() + self.error()

    async def sleep_until(self, moment: float) -> None:
        """Sleep for as long as it takes when nobody sets it meanwhile."""
        await self._right.sleep_until(moment - self.error())


@broken("test_a_clock_that_is_set_brings_nothing_early_and_nothing_late")
class EndsByTheTimeOfDay(Queue):
    """What is due is compared with the wall clock: set back, nothing comes for as long.

    https://github.com/dbader/schedule/pull/323
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=TimeOfDay(clock or SystemClock()))


class Client(Queue):
    """Its broker's clock is right, and moments are reckoned by the client's."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.mine = TimeOfDay(SystemClock())


@broken("test_a_clock_that_is_set_brings_nothing_early_and_nothing_late")
class DelaysUntilTheClientsMoment(Client):
    """A delay is sent as a moment, by the clock of who asks for it.

    https://github.com/apache/pulsar/pull/25310
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        error = self.mine.error()
        reckoned = [
            msgspec.structs.replace(one, delay=max(0.0, one.delay + error)) if one.delay else one
            for one in batch
        ]
        return await super().settle(feed, reckoned)


@broken("test_a_clock_that_is_set_takes_nothing_from_a_handler")
class ExtendsToTheClientsMoment(Client):
    """The end of an expiry is reckoned here and compared there, where it may be over already.

    https://github.com/urbanmassage/node-rabbitr/issues/42
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return await super().extend(feed, tokens, seconds + self.mine.error())
