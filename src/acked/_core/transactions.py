"""What takes part in a transaction of the user's: which layers can, and what is asked of them."""

from acked.abc import AckFeed, Layer, TransactionalFeed, TransactionalLayer
from acked.errors import CapabilityError

__all__ = ("transactional_feed", "transactional_layer")


def transactional_layer(layer: Layer) -> TransactionalLayer:
    """Return `layer`; raise `CapabilityError` unless it publishes in transactions of its user's."""
    if not isinstance(layer, TransactionalLayer):
        raise CapabilityError(
            "this layer is in no database, so it cannot publish in your transaction; publish "
            "without connection=, after the commit"
        )
    return layer


def transactional_feed(feed: AckFeed) -> TransactionalFeed:
    """Return `feed`; raise `CapabilityError` unless it settles in transactions of its user's."""
    if not isinstance(feed, TransactionalFeed):
        raise CapabilityError(
            "this layer is in no database, so it cannot ack in your transaction; ack without "
            "connection=, after the commit"
        )
    return feed
