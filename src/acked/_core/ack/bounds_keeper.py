"""What nobody could have published through `acked` is never handed out, and stops nobody."""

import logging
from collections.abc import Callable

import msgspec

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.bounds import CUT, cut_to_bounds, is_within_bounds

__all__ = ("BoundsKeeper",)

logger = logging.getLogger("acked.subscription")


class BoundsKeeper:
    """Sends what is beyond the bounds to the dead letters, or, without a topic for them, aside.

    Whoever can write to the broker can send such; a reader must not end by it, nor its memory.
    """

    def __init__(
        self,
        tracker: InFlightTracker,
        give_up: Callable[[InFlight, str], bool],
        ack: Callable[[InFlight], object],
    ) -> None:
        self._tracker = tracker
        self._give_up = give_up
        self._ack = ack
        self._count = 0

    def keep_to(self, entries: list[InFlight]) -> list[InFlight]:
        """Return those of `entries` that are within the bounds."""
        beyond = [entry for entry in entries if not is_within_bounds(entry.leased.record)]
        if not beyond:
            return entries
        for entry in beyond:
            self._take_out(entry)
        taken = set(beyond)
        return [entry for entry in entries if entry not in taken]

    def _take_out(self, entry: InFlight) -> None:
        leased = entry.leased
        record = cut_to_bounds(leased.record)
        entry.leased = msgspec.structs.replace(leased, record=record)  # the rest is memory
        why = record.headers[CUT]
        if self._give_up(entry, f"beyond the bounds: {why}"):
            return
        self._tracker.hidden.add(entry)
        self._ack(entry)
        self._count += 1
        count = str(self._count)
        if count.strip("0") == "1":  # the first, the tenth, the hundredth: anybody can send these
            logger.error(
                "%s message(s) set aside so far: message %r of topic %r, at %r, came with %s; "
                "statistics().set_aside counts on; redelivery=Redelivery(dead_letter=...) keeps "
                "their bodies",
                count,
                record.id,
                record.topic,
                leased.position,
                why,
            )
