"""Broken connections: what an earlier one delivered is settled on a later one."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

import msgspec

from acked.layers.memory_queue._group import GroupQueue
from acked.types import Leased, Outcome, Settlement, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import ConnectedQueue, Feed, Queue

__all__ = ()


class NumbersAsTokens(ConnectedQueue):
    """What a token stands for is asked of the connection that is there now."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(one, token=feed._held[one.token].kept.number)
            for one in super().take(feed, limit)
        ]

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        meant = [msgspec.structs.replace(s, token=self.meant(feed, s.token)) for s in batch]
        return await super().settle(feed, meant)

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await super().release(feed, [self.meant(feed, token) for token in tokens])

    def meant(self, feed: Feed, number: Token) -> Token:
        """Return the token of the message with this number, as it is held now."""
        found = (token for token, held in feed._held.items() if held.kept.number == number)
        return next(found, None)


@broken("test_a_settlement_after_the_connection_broke_is_lost")
class AcksOnALaterConnection(NumbersAsTokens):
    """An ack names a number that a later connection has given to a delivery of its own."""


@broken("test_a_settlement_after_the_connection_broke_is_lost")
class ConfirmsAfterTheConnectionBroke(ConnectedQueue):
    """An ack for what was taken away is swallowed: nobody is told that the message comes again."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        await super().settle(feed, batch)
        return [Outcome.CONFIRMED for _ in batch]


@broken("test_after_a_failover_that_lost_writes_all_that_is_there_comes")
class ReadsOnFromWhereItWas(Queue):
    """A consumer knows its place in the log, and the log is shorter now: what is added is skipped.

    https://github.com/tulios/kafkajs/issues/818
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        places: dict[GroupQueue, int] = dict(feed.notes)
        for queue in feed._queues:
            while queue._fresh and queue._fresh[0].number <= places.get(queue, 0):
                queue._fresh.popleft()
        taken = super().take(feed, limit)
        for one in taken:
            lease = feed._held[one.token]
            feed.notes.append((lease.queue, lease.kept.number))
        return taken
