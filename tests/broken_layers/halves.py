"""Broken halves: what is interrupted, refused or stale has been done in part."""

# pyright: reportPrivateUsage=false

import heapq
from collections.abc import Sequence
from typing import Any

import msgspec
from anyio.lowlevel import checkpoint

from acked.errors import LayerError
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

REFUSED = "test_a_refused_letter_is_that_of_one_member"


class InTwoSteps(Queue):
    """What `hands` are laid on is nowhere for a moment, and lost if that moment is the last."""

    async def out_and_in(self, feed: Feed, tokens: Sequence[Token]) -> None:
        """Take the leases of `tokens` out of the consumer, and put them back."""
        out = {token: feed._held.pop(token) for token in tokens if token in feed._held}
        for _ in range(3):
            await checkpoint()
        feed._held |= out


class SettlesInTwoSteps(InTwoSteps):
    """A settlement by `verb` is in two steps."""

    verb = Verb.NACK

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        await self.out_and_in(feed, [one.token for one in batch if one.verb is self.verb])
        return await super().settle(feed, batch)


@broken("test_cancelling_a_nack_loses_nothing")
class NacksInTwoSteps(SettlesInTwoSteps):
    """A nacked message is removed from one list and then added to another.

    https://github.com/edgurgel/verk/issues/98
    """


@broken("test_cancelling_a_rejection_leaves_a_letter_or_the_original")
class RejectsInTwoSteps(SettlesInTwoSteps):
    """A rejected message is removed first, and written to the dead letters then.

    https://github.com/ono/resque-cleaner/pull/22
    """

    verb = Verb.REJECT


@broken("test_cancelling_a_release_loses_nothing")
class ReleasesInTwoSteps(InTwoSteps):
    """A release deletes the message, and adds it again.

    https://github.com/vmihailenco/taskq/issues/40
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await self.out_and_in(feed, tokens)
        await super().release(feed, tokens)


@broken("test_cancelling_an_extension_loses_nothing")
class ExtendsInTwoSteps(InTwoSteps):
    """An extension takes the lease out of the set of ends, and puts it back with a later one.

    https://github.com/songzhibin97/gkit/pull/157
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await self.out_and_in(feed, tokens)
        return await super().extend(feed, tokens, seconds)


@broken(REFUSED)
class ARefusalIsForAll(Queue):
    """One of a batch was refused: nothing behind it is settled, and each is told so.

    https://github.com/aws-powertools/powertools-lambda-java/issues/119
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        replies: list[Any] = []
        for one in batch:
            replies += await super().settle(feed, [one])
            if isinstance(replies[-1], LayerError):
                return replies + replies[-1:] * (len(batch) - len(replies))
        return replies


@broken(REFUSED)
class ARefusalIsOverlooked(Queue):
    """One of a batch was refused and ended it; the rest is taken for done.

    https://github.com/bbc/sqs-consumer/issues/193
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        replies: list[Any] = []
        for one in batch:
            replies += await super().settle(feed, [one])
            if isinstance(replies[-1], LayerError):
                return replies + [Outcome.CONFIRMED] * (len(batch) - len(replies))
        return replies


@broken(REFUSED)
class ARefusalEndsTheLease(Queue):
    """A message whose letter was refused is given back, though its holder was told that it has it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        reply: object = super().settle_one(feed, lease, settlement, now)
        if isinstance(reply, LayerError):
            del feed._held[lease.token]
            lease.queue.give_back(lease, charge=True)
        return reply  # type: ignore[return-value]


@broken("test_a_stale_rejection_writes_no_letter")
class BuriesWhatAnotherHas(Queue):
    """The letter is written before it is known whether the lease still holds."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        for one in batch:
            if one.dead_letter is not None and one.token not in feed._held:
                feed._published(one.dead_letter)
        return await super().settle(feed, batch)


@broken("test_a_dead_letter_is_kept_until_somebody_looks")
class DropsLettersThatNobodyReads(Queue):
    """A dead letter whose topic has no subscription goes nowhere, and the original is gone.

    https://github.com/dapr/dapr/issues/5013
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is not None and not self._broker.topic(letter.topic).groups:
            settlement = msgspec.structs.replace(settlement, dead_letter=None)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_dead_letter_wakes_who_waits_in_each_group")
class LettersWakeNobody(Queue):
    """A dead letter is written beside the way of publishing, which is what wakes.

    https://github.com/casualcore/casual/issues/312
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        letter = settlement.dead_letter
        if letter is None:
            return super().settle_one(feed, lease, settlement, now)
        topic = self._broker.topic(letter.topic)
        vars(topic)["nudge"] = lambda: None
        try:
            return super().settle_one(feed, lease, settlement, now)
        finally:
            del vars(topic)["nudge"]


@broken("test_what_comes_back_comes_before_what_was_not_delivered")
class WhatIsLeftGoesToTheEnd(Queue):
    """What a consumer leaves behind is put at the end of the queue.

    https://github.com/rabbitmq/rabbitmq-website/issues/665
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        leases = [feed._held[token] for token in tokens if token in feed._held]
        await super().release(feed, tokens)
        for lease in leases:
            queue = lease.queue
            item = next(one for one in queue._returned if one[2] is lease.kept)
            queue._returned.remove(item)
            heapq.heapify(queue._returned)
            queue._fresh.append(lease.kept)


@broken("test_order_is_that_of_publishing_and_not_of_what_was_published")
class OrdersByTime(Queue):
    """Messages are read by their timestamp, which is the publisher's clock."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            by_time = sorted(queue._fresh, key=lambda kept: kept.record.timestamp)
            queue._fresh.clear()
            queue._fresh.extend(by_time)
        return super().take(feed, limit)
