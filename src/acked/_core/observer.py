"""What may be watched of a channel's work: the seam for tracing, metrics and a live view."""

from collections.abc import Sequence
from typing import Protocol

from acked.errors import LayerError
from acked.types import Leased, Receipt, Record, Reply, Verb

__all__ = ("Observer",)


class Observer(Protocol):
    """Hooks that a channel calls where something has happened; `Channel(layer, observer=...)`.

    They are called in the event loop, at once and often: they must be fast, must not await, and
    must not raise, or the subscription ends with what they raised. Without an observer nothing is
    called and nothing is paid.
    """

    def published(self, records: Sequence[Record], receipts: Sequence[Receipt] | None) -> None:
        """Note that the broker accepted `records`; an ack-capable layer gave a receipt for each."""
        ...

    def publish_failed(self, records: Sequence[Record], error: LayerError) -> None:
        """Note that not all of `records` were accepted, or that nobody knows."""
        ...

    def fetched(self, messages: Sequence[Leased]) -> None:
        """Note what came from the broker, leased to us; what has `attempt > 1` came again."""
        ...

    def handed_out(self, message: Leased) -> None:
        """Note that the user is handed `message`."""
        ...

    def settled(self, message: Leased, verb: Verb, reply: Reply) -> None:
        """Note that the layer answered `reply` to the settlement of `message`."""
        ...

    def renewed(self, messages: Sequence[Leased], replies: Sequence[Reply]) -> None:
        """Note what the layer answered to the renewal of these leases, one reply for each."""
        ...

    def lost(self, messages: Sequence[Leased]) -> None:
        """Note that the leases of `messages` ended before they were settled."""
        ...

    def missed(self, count: int | None) -> None:
        """Note that a subscription missed `count` messages; None: nobody knows how many."""
        ...

    def connection_lost(self, error: LayerError) -> None:
        """Note that receiving failed for now, and is tried again."""
        ...

    def connection_restored(self, tries: int) -> None:
        """Note that receiving works again, after `tries`."""
        ...
