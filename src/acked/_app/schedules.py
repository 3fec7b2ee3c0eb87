"""When a schedule is due: by a cron expression in a time zone, or every so many seconds."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from acked._core.options import checked_seconds
from acked.errors import ConfigurationError

__all__ = ("Schedule", "schedule_of")

LONGEST_FOLD: Final = 3 * 3600.0
"""Seconds after which what came twice, since clocks were set back, is over."""


class Schedule(Protocol):
    """The moments at which something is due, in seconds since the epoch: whole ones."""

    zone: tzinfo

    def last(self, now: float) -> float:
        """Return the latest moment that is not after `now`."""
        ...

    def next(self, now: float) -> float:
        """Return the earliest moment after `now`."""
        ...


def schedule_of(when: str | float, zone: tzinfo | str | None) -> Schedule:
    """Return what `every(when, zone=...)` means; raise `ConfigurationError` for what is nothing."""
    if not isinstance(when, str):
        if zone is not None:
            raise ConfigurationError("zone= is for cron expressions; seconds are the same in all")
        return _Seconds(checked_seconds("every", when, above=0.0))
    return _Cron(when, _zone_of(zone))


class _Seconds:
    """Multiples of a number of seconds since the epoch: the same in each process."""

    def __init__(self, seconds: float) -> None:
        self.zone: tzinfo = UTC
        self._seconds = seconds

    def last(self, now: float) -> float:
        return self._number(now) * self._seconds

    def next(self, now: float) -> float:
        return (self._number(now) + 1) * self._seconds

    def _number(self, now: float) -> float:
        number = now // self._seconds
        # A quotient is rounded: what counts is the product, which everybody computes.
        number += (number + 1) * self._seconds <= now
        return number - (number * self._seconds > now)


class _Cron:
    """A cron expression, as Debian's cron has it: what a change of clocks skips is made up for."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        self.zone = zone
        self._text: Final = text
        try:
            next(self._moments(datetime.now(zone)))
        except Exception as error:
            if isinstance(error, ConfigurationError):
                raise
            why = "it is never due" if isinstance(error, StopIteration) else str(error)
            raise ConfigurationError(f"every({text!r}): no cron expression: {why}") from error

    def last(self, now: float) -> float:
        # An hour that comes twice has its moments the first time: look there in the second, too.
        set_back = self._offset(now - LONGEST_FOLD) - self._offset(now)
        began = datetime.fromtimestamp(int(now) + 1 + max(0.0, set_back), self.zone)
        moments = (one.timestamp() for one in self._moments(began, reverse=True))
        return next(moment for moment in moments if moment <= now)

    def next(self, now: float) -> float:
        began = datetime.fromtimestamp(now, self.zone)
        # In the second of two it begins with the first one.
        moments = (one.timestamp() for one in self._moments(began))
        return next(moment for moment in moments if moment > now)

    def _offset(self, now: float) -> float:
        offset = datetime.fromtimestamp(now, self.zone).utcoffset()
        return offset.total_seconds() if offset else 0.0

    def _moments(self, began: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        try:
            from cronsim import CronSim  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "cron expressions need cronsim: pip install 'acked[cron]'; seconds do not"
            ) from error
        return CronSim(self._text, began, reverse=reverse)


def _zone_of(zone: tzinfo | str | None) -> tzinfo:
    if zone is None:
        return UTC
    if isinstance(zone, tzinfo):
        return zone
    try:
        return ZoneInfo(zone)
    except Exception as error:
        raise ConfigurationError(
            f"zone={zone!r}: no time zone that is known here, as 'Europe/Berlin' is where there is "
            "a database of them (pip install tzdata)"
        ) from error
