"""An ack in a transaction of the user's: the layer says yes, and the commit makes it true.

The engine takes it for an ack: it holds the message no more, nor renews its lease. Rolled back, the
message is still owed, and leased to this consumer until its lease ends. So the same delivery can be
acked in another transaction; or it fails, and its message is nacked unless the first one commits.
"""

from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.settler import error_of, one_for_each
from acked._core.observer import Observer
from acked._core.transactions import transactional_feed
from acked._machines.settlement import State, begin
from acked.abc import AckFeed
from acked.errors import LayerError
from acked.types import Outcome, Reply, Settlement, Verb

__all__ = ("TransactionalAcks",)


class TransactionalAcks:
    """Acks deliveries of one subscription in transactions of the user's."""

    def __init__(self, feed: AckFeed, tracker: InFlightTracker, observer: Observer | None) -> None:
        self._feed = feed
        self._tracker = tracker
        self._observer = observer

    async def ack(self, entry: InFlight, connection: object) -> None:
        """Ack `entry` in the transaction of `connection`; where that fails, nothing is acked.

        Raises as `Delivery.ack` does, and `CapabilityError` where the layer has no transactions.
        What was acked in one before is asked for again: `LeaseLost` if that was committed.
        """
        feed = transactional_feed(self._feed)
        is_again = entry.state is State.ACKED
        if not is_again:
            entry.state, _ = begin(entry.state, Verb.ACK)
        settlement = Settlement(entry.leased.token, Verb.ACK)
        answer: Reply = Outcome.UNKNOWN
        try:
            replies = await feed.settle_in(connection, [settlement])
            (answer,) = one_for_each(replies, [settlement], "settle_in")
        finally:
            if self._observer is not None:
                self._observer.settled(entry.leased, Verb.ACK, answer)
            if not is_again:
                self._tracker.settled([entry], [answer])
        if isinstance(answer, LayerError):
            raise answer
        if answer is not Outcome.CONFIRMED:
            raise error_of(entry, answer, None, self._tracker.stall)

    def nack_unless_committed(self, entry: InFlight, delay: float) -> None:
        """Let `entry` come again after `delay` seconds, unless its ack was committed."""
        transactional_feed(self._feed).unless_committed(entry.leased.token, delay)
