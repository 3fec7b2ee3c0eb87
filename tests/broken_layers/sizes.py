"""Broken sizes: what works for a few and not for a page, or not for several topics and groups."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence
from typing import Final

import msgspec

from acked.abc import Clock
from acked.errors import LayerError
from acked.layers.memory_queue._group import RecordLease
from acked.layers.memory_queue._topic_set import NEVER
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

PAGE: Final = 500
TEN: Final = 10
HUNDRED: Final = 100
THOUSAND: Final = 1000


@broken("test_a_publish_of_nineteen_hundred_is_whole_and_receipted_in_order")
class PublishesTheFirstPageOnly(Queue):
    """What is beyond the most that one request may carry is left out, and said to be accepted.

    https://github.com/lumigo-io/lumigo-CLI/pull/63
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts = list(await super().publish(records[:PAGE]))
        return receipts + [Receipt(one.id, one.topic) for one in records[PAGE:]]


@broken("test_a_publish_of_nineteen_hundred_is_whole_and_receipted_in_order")
class PublishesAPageAgain(Queue):
    """A later page failed for a moment, and the try after that begins with the first page.

    https://github.com/justeattakeaway/JustSaying/pull/2349
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        if len(records) > PAGE:
            await super().publish(records[:PAGE])
        return await super().publish(records)


@broken("test_a_publish_of_nineteen_hundred_is_whole_and_receipted_in_order")
class SkipsTheFirstOfEachPage(Queue):
    """The cursor of the last page is taken for read, so each later page begins one too far.

    https://github.com/alicebob/miniredis/pull/400
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        feed.notes += taken
        if taken and len(feed.notes) > PAGE:
            feed.notes.clear()
            return taken[1:]
        return taken


@broken("test_eleven_hundred_acks_at_once_are_each_answered")
class AcksAThousandAtMost(Queue):
    """The request with the ids of all acks is too large; it fails in a log, and they come again.

    https://github.com/googleapis/nodejs-pubsub/issues/1864
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        answers = await super().settle(feed, batch[:THOUSAND])
        return [*answers, *(Outcome.CONFIRMED for _ in batch[THOUSAND:])]


@broken("test_eleven_hundred_acks_at_once_are_each_answered")
class UnpacksTooMany(Queue):
    """One script is given all of them as its arguments, more than its stack has room for.

    https://github.com/taskforcesh/bullmq/issues/422
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        if len(batch) > THOUSAND:
            raise LayerError("too many results to unpack")
        return await super().settle(feed, batch)


@broken("test_each_of_a_mixed_batch_is_settled_its_own_way")
class OneVerbForAll(Queue):
    """A batch is settled as its first member is: one bad member spoils it, one good one hides it.

    https://github.com/spring-projects/spring-kafka/issues/1915
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        verb = batch[0].verb if len(batch) > 1 else None
        same = [one if verb is None else Settlement(one.token, verb) for one in batch]
        return await super().settle(feed, same)


@broken("test_each_of_a_mixed_batch_is_settled_its_own_way")
class OneDelayForAll(Queue):
    """The visibility of a batch is one number: the longest delay is everybody's.

    https://github.com/ruby-shoryuken/shoryuken/issues/640
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        longest = max(one.delay for one in batch)
        return await super().settle(
            feed,
            [
                msgspec.structs.replace(one, delay=longest) if one.verb is Verb.NACK else one
                for one in batch
            ],
        )


@broken("test_three_hundred_released_at_once_are_free_at_once")
class ReleasesAHundredAtMost(Queue):
    """Only so many ids fit into one request; the others wait for the end of their leases.

    https://github.com/googleapis/google-cloud-cpp/issues/9471
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await super().release(feed, tokens[:HUNDRED])


@broken("test_three_hundred_released_at_once_are_free_at_once")
class ReleasesMoreThanAsked(Queue):
    """Whoever asks for some to be delivered again gets the rest of what it holds again, too.

    https://github.com/apache/pulsar/issues/5004
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        await super().release(feed, list(feed._held))


@broken("test_forty_extended_at_once_are_all_extended")
class ExtendsTenAtMost(Queue):
    """A request for more than ten extensions does nothing for the rest, and does not fail.

    https://github.com/aws/aws-dotnet-messaging/pull/34
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await super().extend(feed, tokens[:TEN], seconds)
        return [Outcome.CONFIRMED if token in feed._held else Outcome.LOST for token in tokens]


@broken("test_forty_extended_at_once_are_all_extended")
class OverlooksWhatFailedInABatch(Queue):
    """The list of those that were not extended is not looked at.

    https://github.com/NangoHQ/nango/pull/7334
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        answers = await super().extend(feed, tokens, seconds)
        return [Outcome.CONFIRMED] * len(tokens) if len(tokens) > 1 else answers


@broken("test_an_extension_ends_when_it_was_said_to")
class AddsToTheLease(Queue):
    """An extension is added to what is left, where it was to be counted from now.

    https://github.com/aws/aws-sdk-java/issues/424
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        left = [
            feed._held[token].until - self._clock.time() for token in tokens if token in feed._held
        ]
        return await super().extend(feed, tokens, seconds + max(left, default=0.0))


@broken("test_all_of_a_dead_consumer_is_recovered_and_nothing_of_a_live_one")
class RecoversTheFirstHundredOnly(Queue):
    """Each look for abandoned messages begins at the start, and sees a hundred entries.

    https://github.com/comet-ml/opik/pull/8137
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        now = self._clock.time()
        for queue in feed._queues:
            ended = [end[2] for end in queue._ends if end[2].until <= now]
            for lease in sorted(ended, key=lambda one: one.token)[HUNDRED:]:
                lease.until = NEVER
        return super().take(feed, limit)


@broken("test_all_of_a_dead_consumer_is_recovered_and_nothing_of_a_live_one")
class RecoversAllOfAConsumer(Queue):
    """One lease of a consumer has ended, so it is taken for dead with all that it renewed.

    https://github.com/mastra-ai/mastra/pull/23697
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        now = self._clock.time()
        for other in self.feeds:
            if any(lease.until <= now for lease in other._held.values()):
                for lease in [one for one in other._held.values() if one.until > now]:
                    del other._held[lease.token]
                    lease.queue.give_back(lease, charge=True)
        return super().take(feed, limit)


@broken("test_outcomes_stay_with_their_members_over_several_topics")
class AnswersTopicByTopic(Queue):
    """Settlements are sent by topic, and the answers are put together as they come back.

    https://github.com/ag2ai/faststream/issues/2289
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        topics = {one.token: self.topic_of(feed, one.token) for one in batch}
        sent = sorted(batch, key=lambda one: topics[one.token])
        return await super().settle(feed, sent)

    def topic_of(self, feed: Feed, token: Token) -> str:
        """Return what topic the message of `token` is of; known for ever, by this bug."""
        names: dict[Token, str] = dict(feed.notes)
        return names.get(token, "")

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        feed.notes += [(one.token, one.record.topic) for one in taken]
        return taken


@broken("test_each_of_three_topics_wakes_who_waits")
class ListensToTheFirstTopic(Queue):
    """A consumer of several topics is woken by one of them; the others are seen by and by.

    https://github.com/IBMStreams/streamsx.messaging/issues/109
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        queues = [queue for feed in self.feeds for queue in list(feed._queues)[1:]]
        aside = [queue.sets for queue in queues]
        for queue in queues:
            queue.sets = {}
        try:
            return await super().publish(records)
        finally:
            for queue, sets in zip(queues, aside, strict=True):
                queue.sets = sets


@broken("test_three_groups_have_each_their_own")
class CountsAttemptsForAllGroups(Queue):
    """The count of deliveries is kept with the message, so one group's failures are another's.

    https://github.com/ag2ai/faststream/issues/1603
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._nacked: dict[str, int] = {}

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK:
            name = lease.kept.record.id
            self._nacked[name] = self._nacked.get(name, 0) + 1
        return super().settle_one(feed, lease, settlement, now)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(one, attempt=1 + self._nacked.get(one.record.id, 0))
            for one in super().take(feed, limit)
        ]
