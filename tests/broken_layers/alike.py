"""Layers that take one message, or one consumer, for another, as public reports tell; each names its."""

# pyright: reportPrivateUsage=false
# Bugs are planted where bugs are: inside.

from collections.abc import Sequence

from acked.abc import Clock
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, remove


@broken("test_equal_ones_that_are_delayed_all_come")
class DelaysEqualBodiesOnce(Queue):
    """What waits for a delay is a member of a set: an equal body takes the place of the first.

    https://github.com/redisson/redisson/issues/3459
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Let the last of equal ones be delayed."""
        if settlement.verb is Verb.NACK and settlement.delay > 0:
            queue, body = lease.queue, lease.kept.record.body
            for item in [one for one in queue._delayed if one[-1].record.body == body]:
                queue._delayed.remove(item)
                queue._owe_no_more(item[-1])
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_is_published_again_under_its_id_is_a_message")
class IgnoresAnIdThatItHasSeen(Queue):
    """A message with the id of an earlier one is accepted, and dropped.

    https://github.com/OptimalBits/bull/issues/1828
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._seen: dict[tuple[str, str], Receipt] = {}

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish those whose ids are new."""
        fresh = [one for one in records if (one.topic, one.id) not in self._seen]
        for receipt in await super().publish(fresh):
            self._seen[receipt.topic, receipt.id] = receipt
        return [self._seen[one.topic, one.id] for one in records]


@broken("test_messages_of_one_id_are_settled_each_its_own_way")
class AnswersABatchById(Queue):
    """The members of a batch are entries by their messages' ids: of two that are equal one counts.

    https://github.com/redpanda-data/connect/issues/182
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Settle the last of each id."""
        ids = [self._id(feed, one) for one in batch]
        entries = dict(zip(ids, batch, strict=True))
        replies = dict(zip(entries, await super().settle(feed, [*entries.values()]), strict=True))
        return [replies[one] for one in ids]

    def _id(self, feed: Feed, settlement: Settlement) -> object:
        lease = feed._held.get(settlement.token)
        return settlement.token if lease is None else lease.kept.record.id


@broken("test_what_is_replayed_is_what_was_published")
class KnowsADeadLetterById(Queue):
    """A dead letter whose id was among the dead letters before is taken for a duplicate.

    https://github.com/apache/artemis/pull/3793
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._letters: set[tuple[str, str]] = set()

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Write a letter for an id once."""
        letter = settlement.dead_letter
        if letter is not None:
            if (letter.topic, letter.id) in self._letters:
                remove(feed, lease)
                return Outcome.CONFIRMED
            self._letters.add((letter.topic, letter.id))
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_waiting_consumer_gets_what_another_one_gave_back")
class SharesOneNameAmongItsConsumers(Queue):
    """Consumers of one process have one name: who leaves gives back what the others hold.

    https://github.com/prwnr/laravel-streamer/issues/64
    """

    def leave(self, feed: Feed) -> None:
        """Leave with all that anybody here holds for the group."""
        for other in self.feeds:
            if other is not feed and set(other._queues) & set(feed._queues):
                Queue.leave(self, other)
        super().leave(feed)


@broken("test_extending_one_extends_no_other")
class EndsAllLeasesWithTheFirst(Queue):
    """When a lease of a consumer ends, all of its leases do, however young.

    https://github.com/apache/pulsar/issues/3059
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """End them before looking."""
        now = self._clock.time()
        for other in self.feeds:
            held = list(other._held.values())
            if other is not feed and any(one.until <= now for one in held):
                for one in held:
                    one.queue.extend(one, now)
        return super().take(feed, limit)


@broken("test_forty_extended_at_once_are_all_extended")
class ExtendsNoneOfABatchWithALostOne(Queue):
    """One of a batch is lost, so none of it is extended, though the others are said to be.

    https://github.com/vercel/sqs-consumer/pull/4
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        """Extend all, or nothing."""
        known = [token in feed._held for token in tokens]
        if all(known):
            return await super().extend(feed, tokens, seconds)
        return [Outcome.CONFIRMED if one else Outcome.LOST for one in known]
