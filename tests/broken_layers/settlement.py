"""Broken settlements: acks, nacks and rejections that do less, or more, than they say."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence
from typing import Self

import msgspec

from acked.abc import Clock
from acked.errors import LayerError
from acked.layers.memory_queue._charge import NOTHING
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._kept import Kept
from acked.types import Leased, Outcome, Reply, Settlement, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RememberingQueue, remove

__all__ = ()


@broken("test_an_acked_message_never_comes_again")
class AcksBeforeTheBrokerAnswered(Queue):
    """An ack is confirmed when it is queued; what is still queued on leaving is never sent."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        feed.notes += [one for one in batch if one.verb is Verb.ACK]
        others = iter(await super().settle(feed, [s for s in batch if s.verb is not Verb.ACK]))
        return [Outcome.CONFIRMED if s.verb is Verb.ACK else next(others) for s in batch]

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        await super().settle(feed, feed.notes)
        feed.notes.clear()
        return await super().receive(feed, limit)


@broken("test_whatever_the_order_of_acks_exactly_the_unacked_comes_again")
class AcksEverythingUpToThePosition(Queue):
    """An ack commits a position, as in a log: all that was delivered before it is acked too."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        outcomes = await super().settle(feed, batch)
        return [
            Outcome.CONFIRMED if one.token in feed.notes else outcome
            for one, outcome in zip(batch, outcomes, strict=True)
        ]

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.ACK:
            for before in [one for one in feed._held.values() if one.token < lease.token]:
                remove(feed, before)
                feed.notes.append(before.token)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_nack_brings_it_again_without_waiting_for_the_lease")
class ForgetsWhatIsNacked(Queue):
    """A nack drops the message, as an ack would."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            settlement = Settlement(settlement.token, Verb.ACK)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_nack_brings_it_again_without_waiting_for_the_lease")
class NacksByWaitingForTheLease(Queue):
    """A nack does nothing: the message comes again when its lease ends."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            return Outcome.CONFIRMED
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_nack_brings_it_again_without_waiting_for_the_lease")
class NacksTheNeighboursToo(Queue):
    """A nack rewinds the consumer: whatever it holds comes again."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = super().settle_one(feed, lease, settlement, now)
        if settlement.verb is Verb.NACK:
            for other in feed._held.values():
                other.queue.give_back(other, charge=True)
            feed._held.clear()
        return outcome


@broken("test_a_delayed_nack_brings_it_not_before_its_delay")
class IgnoresTheDelayOfANack(Queue):
    """A delayed nack comes again at once: a hot loop around whatever is failing."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        at_once = msgspec.structs.replace(settlement, delay=0.0)
        return super().settle_one(feed, lease, at_once, now)


@broken("test_what_was_nacked_with_a_delay_outlives_the_consumer")
class KeepsDelaysInTheConsumer(Queue):
    """A delayed nack is a timer of the consumer, and gone with it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.delay:
            feed.notes.append(lease)
        return super().settle_one(feed, lease, settlement, now)

    def leave(self, feed: Feed) -> None:
        super().leave(feed)
        for lease in feed.notes:
            delayed = lease.queue._delayed
            for item in [one for one in delayed if one[-1] is lease.kept]:
                delayed.remove(item)
                lease.queue._owe_no_more(lease.kept)


@broken("test_a_rejected_message_is_whole_in_the_dead_letters")
class ForgetsDeadLetters(Queue):
    """A rejection removes the message, and publishes no dead letter."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        alone = msgspec.structs.replace(settlement, dead_letter=None)
        return super().settle_one(feed, lease, alone, now)


@broken("test_a_rejected_message_is_whole_in_the_dead_letters")
class DeadLettersWithoutHeaders(Queue):
    """A dead letter is the body alone: nobody can tell where it came from, and why it died."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is not None:
            bare = msgspec.structs.replace(letter, headers={})
            settlement = msgspec.structs.replace(settlement, dead_letter=bare)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_what_the_dead_letters_do_not_take_stays_owed")
class RejectsThoughTheLetterWasRefused(Queue):
    """The original is given up although its dead letter was not accepted."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        answer: Reply = super().settle_one(feed, lease, settlement, now)
        if isinstance(answer, LayerError):
            remove(feed, lease)
            return Outcome.CONFIRMED
        return answer


@broken("test_past_max_deliveries_it_is_dead_exactly_once")
class DeadLettersTwice(Queue):
    """The dead letter is published, and once more when the original is removed."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.dead_letter is not None:
            feed._published(settlement.dead_letter)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_stale_settlement_is_lost_and_spares_the_new_holder")
class ConfirmsStaleAcks(Queue):
    """Settling after the lease has ended is confirmed, although nothing was settled."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        await super().settle(feed, batch)
        return [Outcome.CONFIRMED for _ in batch]


@broken("test_a_stale_settlement_is_lost_and_spares_the_new_holder")
class AcksForWhoeverHoldsIt(RememberingQueue):
    """An ack names the message and not the lease: a stale one settles the new holder's."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        outcomes = await super().settle(feed, batch)
        for settlement, outcome in zip(batch, outcomes, strict=True):
            lease = self.lease_by_now(settlement.token)
            if outcome is Outcome.LOST and lease is not None:
                lease.holder.pop(lease.token)
                lease.queue.settled(lease)
        return outcomes


@broken("test_a_token_that_was_settled_settles_nothing_more")
class ConfirmsWhatWasSettledBefore(Queue):
    """A nack after an ack is confirmed: the caller believes that the message comes again."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        outcomes = await super().settle(feed, batch)
        known = set(feed.notes)
        feed.notes += [settlement.token for settlement in batch]
        return [
            Outcome.CONFIRMED if settlement.token in known else outcome
            for settlement, outcome in zip(batch, outcomes, strict=True)
        ]


@broken("test_a_batch_of_settlements_is_answered_one_by_one")
class AnswersInAnotherOrder(Queue):
    """The outcomes of a batch come in the order of the replies, not of the settlements."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        return [*reversed(await super().settle(feed, batch))]


@broken("test_a_batch_of_settlements_is_answered_one_by_one")
class OneStaleMemberSpoilsTheBatch(Queue):
    """With one lease of the batch over, none of the batch is settled."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        if any(settlement.token not in feed._held for settlement in batch):
            return [Outcome.LOST for _ in batch]
        return await super().settle(feed, batch)


@broken("test_an_acked_message_never_comes_again")
class ForgetsAcksWhenItIsOpenedAgain(Queue):
    """Acks are kept in the connection: whoever connects anew gets what was acked."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._acked: list[tuple[GroupQueue, Kept]] = []

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.ACK:
            self._acked.append((lease.queue, lease.kept))
        return super().settle_one(feed, lease, settlement, now)

    async def __aenter__(self) -> Self:
        for queue, kept in self._acked:
            kept.owed += 1
            queue._topic.kept[kept.number] = kept
            queue._returned.append((kept.number, NOTHING, kept))
        self._acked.clear()
        return await super().__aenter__()


@broken("test_what_one_group_settles_is_owed_to_another")
class AcksForEveryGroup(Queue):
    """An ack deletes the message, and another group that owes it never gets it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.ACK:
            for queue in lease.queue._topic.groups.values():
                if queue is not lease.queue and lease.kept in queue._fresh:
                    queue._fresh.remove(lease.kept)
                    queue._owe_no_more(lease.kept)
        return super().settle_one(feed, lease, settlement, now)
