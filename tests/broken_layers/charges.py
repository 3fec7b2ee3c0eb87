"""Broken charges: attempts that are counted where none was made, or not where one was."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

import anyio.lowlevel
import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._charge import Charge
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RightFeed, changed

__all__ = ()


def _more(charged: Charge, deliveries: int) -> Charge:
    return msgspec.structs.replace(charged, deliveries=charged.deliveries + deliveries)


@broken("test_attempts_count_on_and_on")
class ChargesTheNeighboursOfANack(Queue):
    """One that fails takes a delivery from whatever was fetched beside it.

    https://github.com/rabbitmq/rabbitmq-website/pull/2207
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            for other in feed._held.values():
                if other is not lease:
                    other.charged = _more(other.charged, 1)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_ended_a_delivery_is_kept_with_the_message")
class ChargesTwiceForALeaseThatEnded(Queue):
    """A scan meets what it has recovered once more, and counts it once more.

    https://github.com/redis/redis/pull/8725
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        now = self._clock.time()
        for queue in feed._queues:
            for lease in [one[2] for one in queue._ends if one[0] <= now]:
                ours = lease.holder is feed._held
                if lease.until <= now and lease.token in lease.holder and not ours:
                    lease.charged = _more(lease.charged, 1)
        return super().take(feed, limit)


@broken("test_the_renewal_ends_with_max_lease")
class ChargesAnExtension(Queue):
    """A lease is extended by claiming the message anew, which counts as a delivery.

    https://github.com/redis/redis/pull/5907
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        for token in tokens:
            lease = feed._held.get(token)
            if lease is not None:
                lease.charged = _more(lease.charged, 1)
        return await super().extend(feed, tokens, seconds)


@broken("test_the_counters_reconcile_at_rest")
class DoesNotChargeAPlainNack(Queue):
    """What is requeued is not marked as delivered before.

    https://github.com/alanxz/rabbitmq-c/issues/762
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK and not settlement.delay:
            lease.charged = msgspec.structs.replace(
                lease.charged, deliveries=lease.charged.deliveries - 1
            )
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_subscription_cancelled_at_any_step_loses_nothing")
class ChargesACancelledFetch(Queue):
    """What a fetch brought that was given up counts as tried.

    https://github.com/python-arq/arq/issues/267
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        batch = await super().receive(feed, limit)
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            for one in batch:
                lease = feed._held.pop(one.token)
                lease.queue.give_back(lease, charge=True)
            RightFeed._nudge(feed)
            raise
        return batch


class ReadsCountsElsewhere(Queue):
    """How often something was delivered is kept beside the messages, by their ids."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.counts: dict[str, int] = {}

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [self.counted(one) for one in super().take(feed, limit)]

    def counted(self, one: Leased) -> Leased:
        """Return `one` with the attempt that is told."""
        raise NotImplementedError


@broken("test_what_is_published_again_under_its_id_is_a_message")
class RemembersAttemptsById(ReadsCountsElsewhere):
    """What is published again under its id goes on where the former one had ended.

    https://github.com/rq/rq/issues/1228
    """

    def counted(self, one: Leased) -> Leased:
        key = f"{one.record.topic}/{one.record.id}"
        before = self.counts.get(key, 0) if one.attempt == 1 else 0
        if one.attempt > 1:
            self.counts[key] = max(self.counts.get(key, 0), one.attempt)
        return msgspec.structs.replace(one, attempt=max(one.attempt, before + 1))


@broken("test_a_dead_letter_is_counted_from_the_beginning")
class DeadLettersKeepTheirCount(ReadsCountsElsewhere):
    """What is read from the dead letters has been tried as often as in its life.

    https://github.com/taskforcesh/bullmq/issues/3555
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.dead_letter is not None:
            letter = settlement.dead_letter
            self.counts[f"{letter.topic}/{letter.id}"] = lease.charged.deliveries
        return super().settle_one(feed, lease, settlement, now)

    def counted(self, one: Leased) -> Leased:
        before = self.counts.get(f"{one.record.topic}/{one.record.id}", 0)
        return msgspec.structs.replace(one, attempt=one.attempt + before)


@broken("test_a_dead_letter_is_counted_from_the_beginning")
class DeadLettersAreNotCounted(ReadsCountsElsewhere):
    """A dead letter is delivered for the first time, every time.

    https://github.com/Azure/azure-sdk-for-net/issues/53437
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.dead_letter is not None:
            self.counts[f"{settlement.dead_letter.topic}/{settlement.dead_letter.id}"] = 1
        return super().settle_one(feed, lease, settlement, now)

    def counted(self, one: Leased) -> Leased:
        dead = f"{one.record.topic}/{one.record.id}" in self.counts
        return msgspec.structs.replace(one, attempt=1) if dead else one


@broken("test_no_verb_makes_room_for_more_than_is_asked_for")
class CreditsTwiceForAReject(Queue):
    """A rejected message makes room for two: once as done and once as returned.

    https://github.com/rabbitmq/rabbitmq-server/pull/5609
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.REJECT:
            feed.notes.append("credit")
        return super().settle_one(feed, lease, settlement, now)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit + len(feed.notes))
        feed.notes.clear()
        return taken


@broken("test_nobody_is_given_up_for_what_ended_beside_it")
class BuriesTheStalledWithoutItsBody(Queue):
    """The data of what stalled is removed before its failure is told.

    https://github.com/taskforcesh/bullmq/issues/3286
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        charged, letter = lease.charged, settlement.dead_letter
        if letter is not None and charged.deliveries > charged.failures:
            settlement = msgspec.structs.replace(
                settlement, dead_letter=changed([letter], body=b"")[0]
            )
        return super().settle_one(feed, lease, settlement, now)
