"""What was settled, and nobody knows whether: it comes again unless it is settled again in time."""

from acked._core.ack.in_flight import InFlight
from acked._machines.settlement import State

__all__ = ("Doubts",)


class Doubts:
    """Entries whose settlement was not confirmed, for one whole turn of the renewer or longer.

    Their reader may try again for so long. He may as well go on and hold on to them for ever, so
    the engine takes them back then. That is no failure of their handler, and is not charged; but
    where a lease is the connection's only a nack takes back what the layer itself holds in doubt.
    """

    def __init__(self) -> None:
        self._before: set[InFlight] = set()
        self._since: set[InFlight] = set()

    def note(self, entry: InFlight) -> None:
        """Note that `entry` is not known to be settled: it has a whole turn from now on."""
        self._before.discard(entry)
        self._since.add(entry)

    def due(self) -> list[InFlight]:
        """Return, once a turn, what is held in doubt since before the last turn."""
        before, self._before, self._since = self._before, self._since, set()
        return [entry for entry in before if entry.state is State.HELD]
