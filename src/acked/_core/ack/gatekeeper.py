"""What is handed to nobody, and stops nobody: what is beyond the bounds, and what has expired.

Whoever can write to the broker can send what nobody could have published through `acked`; a reader
must not end by it, nor its memory. It goes to the dead letters, or, without a topic for them, is
acknowledged, counted, and told of.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.bounds import CUT, cut_to_bounds, is_within_bounds

__all__ = ("Gatekeeper",)

logger = logging.getLogger("acked.subscription")

_TOLD: Final = (
    "%s message(s) %s so far: message %r of topic %r, at %r, %s; statistics().%s counts on; "
    "redelivery=Redelivery(dead_letter=...) keeps their bodies"
)


class Gatekeeper:
    """Lets in what may be handed out, and sees to the rest."""

    def __init__(
        self,
        tracker: InFlightTracker,
        give_up: Callable[[InFlight, str], bool],
        ack: Callable[[InFlight], object],
    ) -> None:
        self._tracker = tracker
        self._give_up = give_up
        self._ack = ack
        self._counts: Counter[str] = Counter()

    def let_in(self, entries: list[InFlight]) -> list[InFlight]:
        """Return those of `entries` that somebody may be handed."""
        unfit = [
            entry
            for entry in entries
            if entry.leased.is_expired or not is_within_bounds(entry.leased.record)
        ]
        if not unfit:
            return entries
        for entry in unfit:
            self._take_out(entry)
        taken = set(unfit)
        return [entry for entry in entries if entry not in taken]

    def _take_out(self, entry: InFlight) -> None:
        if is_within_bounds(entry.leased.record):
            if not self._is_given_up(entry, "expired"):
                self._tell(entry, "expired", "came after its time was over", logging.WARNING)
            return
        record = cut_to_bounds(entry.leased.record)
        entry.leased = msgspec.structs.replace(entry.leased, record=record)  # the rest is memory
        why = record.headers[CUT]
        if not self._is_given_up(entry, f"beyond the bounds: {why}"):
            self._tell(entry, "set aside", f"came with {why}", logging.ERROR)

    def _is_given_up(self, entry: InFlight, reason: str) -> bool:
        """Send `entry` to the dead letters; False where they have no topic, and it is acked."""
        if self._give_up(entry, reason):
            return True
        self._tracker.hidden.add(entry)
        self._ack(entry)
        return False

    def _tell(self, entry: InFlight, what: str, why: str, level: int) -> None:
        self._counts[what] += 1
        count = str(self._counts[what])
        if count.strip("0") == "1":  # the first, the tenth, the hundredth: anybody can send these
            record, where = entry.leased.record, entry.leased.position
            statistic = what.replace(" ", "_")
            logger.log(level, _TOLD, count, what, record.id, record.topic, where, why, statistic)
